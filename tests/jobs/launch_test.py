# SPDX-License-Identifier: Apache-2.0
"""jobs/launch.sh: real ranks of the launcher that is here, and the command lines for those that are not.

usage: launch_test.py LAUNCH MPIEXEC
"""
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

LAUNCH, MPIEXEC = sys.argv[1:3]

# What `--version` prints first, and the options that must follow (without those for root).
KNOWN = [
    ("mpirun (Open MPI) 4.1.6", ["--oversubscribe", "--bind-to", "none"]),
    ("mpirun (Open MPI) 5.0.3", ["--map-by", ":OVERSUBSCRIBE", "--bind-to", "none"]),
    ("mpiexec (OpenRTE) 4.1.2", ["--oversubscribe", "--bind-to", "none"]),
    ("HYDRA build details:", ["-bind-to", "none"]),
    ("Intel(R) MPI Library for Linux* OS, Version 2021.12", ["-bind-to", "none"]),
    ("slurm 22.05.8", ["--cpu-bind=none", "--overcommit", "--overlap"]),
]


def launch(*arguments, **options):
    return subprocess.run([LAUNCH, *map(str, arguments)], capture_output=True, text=True, timeout=60, **options)


class Launch(unittest.TestCase):
    def test_starts_so_many_ranks_more_than_cores(self):
        ranks = 2 * (os.cpu_count() or 1) + 1
        done = launch("--mpiexec", MPIEXEC, "-n", ranks, "echo", "here")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout.split(), ["here"] * ranks)

    def test_starts_different_programs_side_by_side(self):
        done = launch("--mpiexec", MPIEXEC, "-n", 2, "echo", "a", ":", "-n", 1, "echo", "b")
        self.assertEqual(sorted(done.stdout.split()), ["a", "a", "b"], done.stderr)

    def test_ends_with_the_code_of_the_ranks(self):
        self.assertEqual(launch("--mpiexec", MPIEXEC, "-n", 2, "sh", "-c", "exit 75").returncode, 75)

    def test_becomes_the_launcher(self):
        """Signals to its process id must reach the launcher: no shell stays between them."""
        process = subprocess.Popen([LAUNCH, "--mpiexec", MPIEXEC, "-n", "1", "sh", "-c", "echo $PPID"], stdout=subprocess.PIPE, text=True)
        parent = int(process.communicate(timeout=60)[0])
        self.assertEqual(parent, process.pid)

    def test_finds_the_launcher_in_the_environment(self):
        done = launch("--print", "-n", 2, "true", env={**os.environ, "RONDO_MPIEXEC": MPIEXEC})
        self.assertEqual(done.stdout.splitlines()[0], MPIEXEC, done.stderr)

    def test_takes_the_launcher_of_the_programs_build(self):
        with tempfile.TemporaryDirectory() as folder:
            program = pathlib.Path(folder, "bin", "program")
            program.parent.mkdir()
            program.symlink_to("/bin/true")
            self.assertNotIn(folder, launch("--print", "-n", 1, program).stdout.splitlines()[0])
            program.unlink()
            program.write_text("#!/bin/sh\n")
            program.chmod(0o755)
            mpiexec = pathlib.Path(folder, "mpiexec")
            mpiexec.symlink_to(MPIEXEC)
            pathlib.Path(folder, "CMakeCache.txt").write_text(f"// a comment\nMPIEXEC_EXECUTABLE:FILEPATH={mpiexec}\n")
            self.assertEqual(launch("--print", "-n", 1, program).stdout.splitlines()[0], str(mpiexec))

    def test_says_that_there_is_none(self):
        with tempfile.TemporaryDirectory() as folder:
            for tool in ("bash", "env", "id", "dirname", "readlink"):
                pathlib.Path(folder, tool).symlink_to(subprocess.check_output(["which", tool], text=True).strip())
            done = launch("-n", 1, "true", env={"PATH": folder})
        self.assertEqual(done.returncode, 4)
        self.assertIn("neither mpiexec nor mpirun", done.stderr)

    def test_refuses_a_line_without_ranks(self):
        for line in ([], ["true"], ["-n", "2"]):
            done = launch("--mpiexec", MPIEXEC, *line)
            self.assertEqual(done.returncode, 2)
            self.assertIn("usage:", done.stderr)


class OtherLaunchers(unittest.TestCase):
    """Only what is asked of them can be seen here: a script prints their version."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.mpiexec = pathlib.Path(folder.name, "mpiexec")

    def pretend(self, version):
        self.mpiexec.write_text(f"#!/bin/sh\ncat <<'END'\n{version}\nEND\n")
        self.mpiexec.chmod(0o755)

    def test_each_gets_the_options_that_it_knows(self):
        for version, options in KNOWN:
            self.pretend(version)
            done = launch("--mpiexec", self.mpiexec, "--print", "-n", 3, "rondo", "train")
            words = [word for word in done.stdout.split() if word != "--allow-run-as-root"]
            self.assertEqual(words, [str(self.mpiexec), *options, "-n", "3", "rondo", "train"], version)

    def test_an_unknown_one_is_given_the_standards_option_and_named(self):
        self.pretend("pretend-mpi 1.0")
        done = launch("--mpiexec", self.mpiexec, "--print", "-n", 1, "true")
        self.assertEqual(done.stdout.split(), [str(self.mpiexec), "-n", "1", "true"])
        self.assertIn("pretend-mpi 1.0", done.stderr)

    def test_srun_is_not_given_several_programs(self):
        self.pretend("slurm 22.05.8")
        done = launch("--mpiexec", self.mpiexec, "-n", 1, "a", ":", "-n", 1, "b")
        self.assertEqual(done.returncode, 2)
        self.assertIn("one program for all ranks", done.stderr)


unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)

# SPDX-License-Identifier: Apache-2.0
"""Parts of jobs/gpu_check that need no `rondo`: the end of processes with all that they started, the budget, the report."""
import argparse
import itertools
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import textwrap
import unittest
import unittest.mock

JOBS = str(pathlib.Path(__file__).resolve().parents[2] / "jobs/gpu_check")
sys.path.insert(0, JOBS)
import machine
import process
import report

# A launcher as mpirun is: its ranks have process groups of their own and ignore SIGTERM, and it does not take them along.
LAUNCHER = textwrap.dedent("""
    import os, pathlib, signal, subprocess, sys, time
    rank = "import os, signal, sys, time; os.setpgid(0, 0); signal.signal(signal.SIGTERM, signal.SIG_IGN); " \\
           "open(sys.argv[1] + '.partial', 'w').close(); os.rename(sys.argv[1] + '.partial', sys.argv[1]); time.sleep(3600)"
    folder = pathlib.Path(sys.argv[1])
    ranks = [subprocess.Popen([sys.executable, "-c", rank, str(folder / f"rank-{i}")]) for i in range(2)]
    print("step 1 is done", flush=True)
    (folder / "pids.partial").write_text(" ".join(str(rank.pid) for rank in ranks))
    os.rename(folder / "pids.partial", folder / "pids")
    time.sleep(3600)
    """)


def is_alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Processes(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = pathlib.Path(temporary.name)

    def test_ranks_end_with_their_launcher_and_what_was_printed_is_kept(self):
        has_started = lambda: all((self.folder / name).exists() for name in ("pids", "rank-0", "rank-1"))
        self.enterContext(unittest.mock.patch.object(process, "GRACE_S", 0))
        with self.assertRaises(process.Expired) as caught:
            process.run([sys.executable, "-c", LAUNCHER, self.folder], has_started, None)
        self.assertEqual(caught.exception.text, "step 1 is done\n")
        pids = (self.folder / "pids").read_text().split()
        self.assertEqual((len(pids), [pid for pid in pids if is_alive(pid)]), (2, []))

    def test_a_check_that_is_terminated_leaves_no_ranks(self):
        check = textwrap.dedent("""
            import pathlib, sys
            sys.path.insert(0, sys.argv[1])
            import process
            process.GRACE_S = 0
            process.exit_on_sigterm()
            folder, names = pathlib.Path(sys.argv[3]), ["pids", "rank-0", "rank-1"]
            def tell():
                if names and all((folder / name).exists() for name in names):
                    names.clear()
                    print("started", flush=True)
            process.run([sys.executable, "-c", sys.argv[2], folder], tell, None)
            """)
        with subprocess.Popen([sys.executable, "-B", "-c", check, JOBS, LAUNCHER, self.folder], stdout=subprocess.PIPE, text=True) as running:
            self.assertEqual(running.stdout.readline(), "started\n")
            running.terminate()
            self.assertEqual(running.wait(), 143)
        pids = (self.folder / "pids").read_text().split()
        self.assertEqual((len(pids), [pid for pid in pids if is_alive(pid)]), (2, []))

    def test_ranks_of_mpirun_end_too(self):
        rank = "import os, pathlib, sys, time; pathlib.Path(sys.argv[1], str(os.getpid())).touch(); time.sleep(3600)"
        started = self.folder / "started"
        started.mkdir()
        with self.assertRaises(process.Expired):
            process.run([f"{JOBS}/../launch.sh", "-n", "2", sys.executable, "-c", rank, started],
                        lambda: len(list(started.iterdir())) == 2, None)
        self.assertEqual([path.name for path in started.iterdir() if is_alive(path.name)], [])

    def test_a_program_that_ends_by_itself_gives_its_code_and_its_text(self):
        done = process.run(["sh", "-c", "echo text; exit 3"], lambda: False, None)
        self.assertEqual((done.code, done.text), (3, "text\n"))


class Budgets(unittest.TestCase):
    def test_a_step_fits_only_in_what_is_left(self):
        now = [100.0]
        budget = report.Budget(2, lambda: now[0])
        self.assertEqual(budget.left(), 120 - report.Budget.KEPT_S)
        self.assertTrue(budget.fits(100))
        now[0] += 60
        self.assertTrue(budget.fits(50))
        self.assertFalse(budget.fits(53))
        now[0] += 60
        self.assertFalse(budget.fits(1))

    def test_without_minutes_everything_fits(self):
        self.assertTrue(report.Budget(None).fits(1e9))


class Calls(unittest.TestCase):
    """On a clock that goes on by a second whenever it is asked."""

    def check(self, minutes):
        made = machine.Check(argparse.Namespace(output="unused", minutes=minutes, hosts="", build="nowhere", dry_run=False))
        self.addCleanup(shutil.rmtree, made.work)
        made.budget = report.Budget(minutes, itertools.count().__next__)
        made.log = self.enterContext(open(made.logs / "log", "w+", encoding="utf-8"))
        return made

    def test_a_program_is_ended_at_its_own_limit(self):
        check = self.check(None)
        with self.assertRaisesRegex(machine.Late, "no end within 5 s"):
            check.run("sleep", "3600", limit_s=5)

    def test_a_program_is_ended_when_the_minutes_are_over(self):
        check = self.check(1)
        with self.assertRaises(machine.OutOfTime):
            check.run("sleep", "3600")
        self.assertLessEqual(check.budget.left(), 0)


class Reports(unittest.TestCase):
    def test_every_verdict_is_shown_and_stored_at_once(self):
        with tempfile.TemporaryDirectory() as folder:
            output, logs = pathlib.Path(folder, "output"), pathlib.Path(folder, "logs")
            logs.mkdir()
            (logs / "01-a.log").write_text("log")
            shown = []
            made = report.Report(output, logs, {"date": "2000-01-01"}, lambda text, flush: shown.append(text))
            stored = lambda: json.loads((output / "gpu-check.json").read_text())["steps"][-1]
            made.begin("a", "the step")
            made.verdict(report.BELOW_GOAL, "forward", "612", "690")
            self.assertIn("below goal forward  612 (goal 690)", shown[-1])
            self.assertEqual(stored()["verdicts"], [{"verdict": "below goal", "what": "forward", "figure": "612", "goal": "690"}])
            made.verdict(report.PASS, "backward")
            made.end(3.0, {})
            self.assertEqual((stored()["verdict"], stored()["reason"]), ("below goal", "forward"))
            # A failure is not forgotten where a step is cut off later.
            made.begin("b", "the next")
            made.verdict(report.FAIL, "wrong")
            made.end(1.0, {}, report.NOT_RUN, "cut off: the minutes are over")
            self.assertEqual(stored()["verdict"], "FAIL")
            self.assertEqual(sorted(path.name for path in output.iterdir()), ["gpu-check-logs.tar.gz", "gpu-check.json"])
            with tarfile.open(output / "gpu-check-logs.tar.gz") as archive:
                self.assertIn("gpu-check-logs/01-a.log", archive.getnames())


if __name__ == "__main__":
    unittest.main()

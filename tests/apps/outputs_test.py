# SPDX-License-Identifier: Apache-2.0
"""What the commands write, and from what: outputs that replace nothing but their own kind and are checked before the work, prompts
from files and pipes, and corpora that another program has open."""
import contextlib
import fcntl
import os
import pathlib
import shutil
import signal
import stat
import subprocess
import sys
import unittest

import h5py
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "support"))
from program import OPTIONS, ProgramTest, read_options

REPLACED_NEVER = "so it is not replaced"


@contextlib.contextmanager
def locked(path):
    """As HDF5 locks a file that it has open for writing."""
    with open(path, "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


class Outputs(ProgramTest):
    TEXT = "".join(f"line {i} of a text\n" for i in range(200))
    SMALL = ("data.sequence_length=32", "model.d_model=32", "train.steps=1", "train.warmup_steps=0", "parallel.threads=1",
             "precision.compute=fp32")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.rondo(*cls.train_line("run"))
        with h5py.File(cls.folder / "tensors.h5", "w") as file:
            for name in "qkv":
                file[name] = np.ones((1, 8, 1, 4))
        (cls.folder / "prompt.txt").write_text("line ")
        cls.rondo("generate", "--checkpoint", "run", "--prompt", "li", "--tokens", "1", "--state-out", "begun.h5")
        # Every option that names an output, with an input of the command that could be its output.
        cls.outputs = {
            "--output of prepare": (["prepare", "text.txt", "--tokenizer", "bytes", "--output"], "text.txt"),
            "--output of prepare --task": (["prepare", "--task", "recall", "--samples", "2", "--tokens", "64", "--output"], None),
            "--output of attention": (["attention", "--input", "tensors.h5", "--output"], "tensors.h5"),
            "--per-token": (["eval", "--checkpoint", "run", "--corpus", "corpus.h5", "--per-token"], "corpus.h5"),
            "--state-out": (["generate", "--checkpoint", "run", "--prompt-file", "prompt.txt", "--tokens", "2", "--state-out"],
                            "prompt.txt"),
            "--state-out after --state-in": (["generate", "--checkpoint", "run", "--state-in", "begun.h5", "--tokens", "2",
                                              "--state-out"], "begun.h5")}

    def each(self):
        for name, (line, source) in self.outputs.items():
            with self.subTest(name):
                yield line, source

    def refused(self, line, code, words, **options):
        done = self.rondo(*line, code=code, **options)
        self.assertIn(words, done.stderr)
        self.assertEqual(done.stdout, "", "the work had begun")
        return done.stderr

    def test_an_output_replaces_its_own_kind(self):
        for line, _ in self.each():
            fresh = self.folder / "fresh.h5"
            self.rondo(*line, "fresh.h5")
            before = fresh.stat().st_ino
            self.rondo(*line, "fresh.h5")
            self.assertNotEqual(fresh.stat().st_ino, before)
            self.assertEqual(list(self.folder.glob("*.partial")), [])
            fresh.unlink()

    def test_nothing_else_is_replaced(self):
        others = {"thesis.tex": b"mine", "other.h5": (self.folder / "tensors.h5").read_bytes()}
        for name, content in others.items():
            (self.folder / name).write_bytes(content)
        for line, source in self.each():
            for name in others:
                self.refused([*line, name], 3, REPLACED_NEVER)
            if source:
                content = (self.folder / source).read_bytes()
                self.refused([*line, source], 3, "is input and output at once" if source != "corpus.h5" else source)
                self.assertEqual((self.folder / source).read_bytes(), content)
            self.refused([*line, "run"], 3, "is a folder")
            state = "run/checkpoints/step-1/state.h5"
            self.refused([*line, state], 3, REPLACED_NEVER)
        for name, content in others.items():
            self.assertEqual((self.folder / name).read_bytes(), content)
        self.rondo("checkpoint", "verify", "run")

    def test_special_files_stay(self):
        os.mkfifo(self.folder / "pipe")
        special = {"pipe": stat.S_ISFIFO}
        try:
            os.mknod(self.folder / "device", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
            special["device"] = stat.S_ISCHR
        except PermissionError:
            special["/dev/null"] = stat.S_ISCHR
        for line, _ in self.each():
            for name, is_kind in special.items():
                self.refused([*line, name], 3, "which an output never replaces")
                self.assertTrue(is_kind((self.folder / name).stat().st_mode))

    def test_the_place_is_checked_before_the_work(self):
        for line, _ in self.each():
            self.refused([*line, ""], 2, "names no file")
            self.refused([*line, "no/such/folder.h5"], 3, "the folder does not exist")
            self.refused([*line, "n" * 300], 3, "the name is too long")
            self.refused([*line, "/proc/new.h5"], 3, "/proc/new.h5.partial")

    def test_the_room_for_a_state_is_checked_before_the_text(self):
        import resource
        line = self.outputs["--state-out"][0]
        self.refused([*line, "state.h5"], 3, "ulimit -f",
                     preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)))

    def test_several_ranks_refuse_alike(self):
        (self.folder / "several.tex").write_text("mine")
        for name in "--output of attention", "--per-token":
            said = self.rondo(*self.outputs[name][0], "several.tex", ranks=2, code=3).stderr
            self.assertEqual(said.count("rondo: "), 1, said)
            self.assertIn(REPLACED_NEVER, said)


class Prompts(ProgramTest):
    TEXT = Outputs.TEXT
    SMALL = Outputs.SMALL

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.rondo(*cls.train_line("run"))
        (cls.folder / "genome.fa").write_text(">a\n" + "ACGTTGCA" * 60 + "\n")
        (cls.folder / "ids.txt").write_text("0 1 2 3 4 5 6 7 8 9\n" * 60)
        for name, arguments in ("dna", ("genome.fa",)), ("ids", ("ids.txt", "--vocabulary", "10")):
            cls.rondo("prepare", *arguments, "--tokenizer", name, "--output", f"{name}.h5", "--validation", "0")
            cls.rondo(*cls.train_line(name, f"data.corpus={name}.h5"))

    def generate(self, run, *arguments, code=0, **options):
        return self.rondo("generate", "--checkpoint", run, "--tokens", "2", *arguments, code=code, **options)

    def test_a_prompt_without_tokens_is_refused_and_adds_nothing_to_a_state(self):
        (self.folder / "blank.txt").write_text("\n")
        for run in "dna", "ids":
            for prompt in ("--prompt-file", "blank.txt"), ("--prompt", " "):
                said = self.generate(run, *prompt, code=2).stderr
                self.assertIn(f"{prompt[0]}", said)
                self.assertIn("the prompt has no tokens", said)
        first = self.generate("dna", "--prompt", "ACGT", "--state-out", "state.h5")
        after = ["--state-in", "state.h5", "--temperature", "0"]
        self.assertEqual(self.generate("dna", *after, "--prompt", " \n").stdout, self.generate("dna", *after).stdout)
        self.assertTrue(first.stdout)

    def test_what_is_no_prompt_is_said(self):
        for file, code, words in (("run", 3, "Is a directory"), ("none.txt", 3, "none.txt: cannot be opened"), ("", 2, "names no file")):
            self.assertIn(words, self.generate("run", "--prompt-file", file, code=code).stderr)
        self.assertIn("names no file", self.generate("run", "--state-in", "", code=2).stderr)

    def test_a_pipe_gives_the_prompt_however_slowly(self):
        process = subprocess.Popen([OPTIONS.program, "generate", "--checkpoint", "run", "--tokens", "2", "--temperature", "0",
                                    "--prompt-file", "-"], cwd=self.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for letter in b"line":
            process.stdin.write(bytes([letter]))
            process.stdin.flush()
        shown, _ = process.communicate(timeout=100)
        self.assertEqual(process.returncode, 0)
        self.assertEqual(shown.decode(errors="replace"), self.generate("run", "--temperature", "0", "--prompt", "line").stdout)

    def test_signals_end_the_wait_for_a_prompt(self):
        pipe = self.folder / "prompt_pipe"
        os.mkfifo(pipe)
        for number in signal.SIGTERM, signal.SIGINT:
            process = subprocess.Popen([OPTIONS.program, "generate", "--checkpoint", "run", "--prompt-file", pipe], cwd=self.folder,
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                       preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))  # a job may ignore it
            with open(pipe, "wb"):  # opened: the program reads
                process.send_signal(number)
                self.assertEqual(process.wait(timeout=100), -number)


class Readers(ProgramTest):
    TEXT = Outputs.TEXT
    SMALL = Outputs.SMALL

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.rondo(*cls.train_line("run"))
        cls.readers = {"corpus.h5": [["corpus", "info", "corpus.h5"], ["corpus", "sample", "corpus.h5"], ["corpus", "verify", "corpus.h5"],
                                     ["eval", "--checkpoint", "run", "--corpus", "corpus.h5"],
                                     ["check", f"{OPTIONS.source}/configs/tiny.toml"], cls.train_line("new"),
                                     ["prepare", "text.txt", "--tokenizer", "bytes", "--output", "corpus.h5"]],
                       "run/checkpoints/step-1/state.h5": [["generate", "--checkpoint", "run", "--prompt", "a"],
                                                           ["checkpoint", "info", "run"], ["checkpoint", "verify", "run"],
                                                           cls.train_line("run", "train.steps=2")]}

    def test_a_file_that_another_program_writes_is_called_so(self):
        for file, lines in self.readers.items():
            content = (self.folder / file).read_bytes()
            for line in lines:
                with self.subTest(line), locked(self.folder / file):
                    said = self.rondo(*line, code=3).stderr
                    self.assertIn("another program holds the file open for writing", said)
                    self.assertIn("HDF5_USE_FILE_LOCKING=FALSE", said)
                    self.assertNotIn("HDF5 says", said)
            self.assertEqual((self.folder / file).read_bytes(), content)

    def test_the_advice_about_locks_helps(self):
        with locked(self.folder / "corpus.h5"):
            self.rondo("corpus", "info", "corpus.h5", env={**os.environ, "HDF5_USE_FILE_LOCKING": "FALSE"})

    def test_the_mark_of_a_killed_writer_is_explained(self):
        marked = self.folder / "marked.h5"
        marked.write_bytes((self.folder / "corpus.h5").read_bytes())
        writer = subprocess.Popen([sys.executable, "-c", "import h5py, sys; f = h5py.File(sys.argv[1], 'r+'); f.flush(); print(flush=True); "
                                   "sys.stdin.read()", marked], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        writer.stdout.readline()
        writer.kill()
        writer.communicate()
        said = self.rondo("corpus", "info", "marked.h5", code=3).stderr
        self.assertIn("h5clear -s", said)
        self.assertNotIn("HDF5 says", said)

    def test_pipes_and_folders_are_no_hdf5_files(self):
        os.mkfifo(self.folder / "pipe")
        for name, words in ("pipe", "is a device, pipe or socket"), ("run", "is a folder"):
            for line in (["corpus", "info", name], ["eval", "--checkpoint", "run", "--corpus", name],
                         ["attention", "--input", name, "--output", "out.h5"], [*self.train_line("other"), "--set", f"data.corpus={name}"],
                         ["generate", "--checkpoint", "run", "--state-in", name]):
                with self.subTest(line):
                    self.assertIn(words, self.rondo(*line, code=3).stderr)

    def test_a_pipe_is_no_record_of_a_checkpoint(self):
        shutil.copytree(self.folder / "run", self.folder / "piped")
        record = self.folder / "piped/checkpoints/step-1/commit.json"
        record.unlink()
        os.mkfifo(record)
        for line in ["generate", "--prompt", "a", "--checkpoint"], ["checkpoint", "info"], ["checkpoint", "verify"]:
            with self.subTest(line):
                done = self.rondo(*line, "piped", code=3)
                self.assertTrue("no commit record" in done.stderr + done.stdout or "none of them is valid" in done.stderr, done.stderr)


if __name__ == "__main__":
    rest = read_options("program", "mpiexec", "source")
    unittest.main(argv=["outputs_test.py", *rest], verbosity=2)

# SPDX-License-Identifier: Apache-2.0
"""Every option of every command, as `--help` lists them, with values that are wrong in every way that a value can be: no internal
error, no signal, no hang, messages in UTF-8, and no file changed that was not named for output. A new option is covered by itself;
a new command needs a line in BASES."""
import concurrent.futures
import contextlib
import hashlib
import os
import pathlib
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import unittest

import h5py
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "support"))
from program import OPTIONS, read_options

ALLOWED_CODES = {0, 2, 3, 4, 5, 75}
HANG_S = 100  # of a process that takes a second at most
BENCH = {"--warm-ups": "0", "--runs": "1", "--threads": "1"}
HEADS = {"--heads": "2", "--tokens": "8", "--head-dim": "16", "--peak-size": "8"}
# Small command lines that work. An option is tried in the first that has it, and in all where none has it.
BASES = {
    "prepare": [{"input": "{text}", "--output": "out.h5", "--tokenizer": "bytes"},
                {"--task": "recall", "--samples": "2", "--tokens": "64", "--output": "out.h5"}],
    "corpus info": [{"file": "{corpus}"}],
    "corpus sample": [{"file": "{corpus}"}],
    "corpus verify": [{"file": "{corpus}"}],
    "train": [{"config": "{config}", "--run": "run_of_test"}],
    "attention": [{"--input": "{tensors}", "--output": "out.h5"}],
    "eval": [{"--checkpoint": "{run}", "--corpus": "{corpus}", "--threads": "1"},
             {"--checkpoint": "{run}", "--task": "passkey_text", "--tokens": "256", "--samples": "1", "--threads": "1"}],
    "generate": [{"--checkpoint": "{run}", "--prompt": "ab", "--tokens": "2", "--threads": "1"},
                 {"--checkpoint": "{run}", "--prompt-file": "{text}", "--tokens": "2", "--threads": "1"},
                 {"--checkpoint": "{run}", "--state-in": "{state}", "--tokens": "2", "--threads": "1"}],
    "check": [{"config": "{config}"}],
    "checkpoint info": [{"DIR": "{run}"}],
    "checkpoint verify": [{"DIR": "{run}"}],
    "bench attention": [{**BENCH, **HEADS}],
    "bench feed_forward": [{**BENCH, "--tokens": "8", "--d-model": "16", "--d-ff": "16", "--peak-size": "8"}],
    "bench matmul": [{**BENCH, "-m": "8", "-n": "8", "-k": "8", "--peak-size": "8"}],
    "bench memory": [{**BENCH, **HEADS, "--segment-tokens": "4"}],
    "bench ring": [{**BENCH, **HEADS}],
    "bench split": [{**BENCH, **HEADS, "--hops": "2"}],
    "bench step": [{**BENCH, "config": "{config}"}],
}
# The matmul peak of a real machine, which takes seconds; `bench ring` has the option to make it small.
SLOW = {("bench step", "--peak")}
# Not wrong, but long: a prompt of all bytes of a corpus.
LONG_WORK = {("generate", "--prompt-file", "corpus")}
# What is replaced when it is named so: a command's output of its own kind, and the run that `rondo train` goes on with.
REPLACED = {("prepare", "--output", "corpus"), ("train", "--run", "run")}
# Values of --set, which takes any key of the configuration, that name files.
FILE_KEYS = ("data.corpus", "train.initialise_from")


def number_values():
    return {"negative": "-1", "zero": "0", "huge": "1e30", "long number": "9" * 20, "nan": "nan", "empty": "",
            "not UTF-8": b"\xff\xfe\xe2\x28", "name": "missing"}


class Scene:
    """The working folder of one command, with the things that a value may name."""

    def __init__(self, prepared, folder):
        self.prepared, self.folder = prepared, folder
        os.mkfifo(folder / "pipe")
        (folder / "folder").mkdir()
        (folder / "folder/inside.txt").write_text("inside")
        (folder / "self").symlink_to("self")
        for name in ("text", "corpus"):
            shutil.copy(prepared / name, folder)
        shutil.copytree(prepared / "run", folder / "run")

    @staticmethod
    def file_values(device):
        names = {"folder": "folder", "pipe": "pipe", "link to itself": "self", "text": "text", "corpus": "corpus", "run": "run",
                 "under a file": "text/x", "long name": "n" * 300, "very long name": "n" * 5000}
        return {**names, **({"device": str(device)} if device else {})}

    def digests(self):
        """Of all files that are there; a pipe or link by what it is."""
        found = {}
        for path in sorted(self.folder.rglob("*")):
            mode = path.lstat().st_mode
            content = path.read_bytes() if stat.S_ISREG(mode) else b""
            found[str(path.relative_to(self.folder))] = (stat.S_IFMT(mode), hashlib.sha256(content).digest())
        return found


@contextlib.contextmanager
def writer_of(pipe):
    """Opens the pipe for writing whenever somebody reads, and closes it: readers find the end of the input."""
    done = threading.Event()

    def serve():
        while not done.is_set():
            os.close(os.open(pipe, os.O_WRONLY))  # waits for a reader

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        done.set()
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        thread.join()
        os.close(reader)


class CommandLine(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        holder = tempfile.TemporaryDirectory(prefix="rondo-command-line-")
        cls.addClassCleanup(holder.cleanup)
        cls.folder = pathlib.Path(holder.name)
        cls.prepared = cls.folder / "prepared"
        cls.prepared.mkdir()
        cls.make_prepared(cls.prepared)
        cls.device = cls.folder / "device"
        try:
            os.mknod(cls.device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))  # as /dev/null
        except PermissionError:
            cls.device = None
            print("no device among the values: only root can make one", file=sys.stderr)

    @classmethod
    def make_prepared(cls, folder):
        (folder / "text").write_text("".join(f"line {i} of a text\n" for i in range(40)))
        (folder / "config").write_text(
            f'[model]\nlayers = 1\nd_model = 16\nheads = 2\n[data]\ncorpus = "{folder}/corpus"\nsequence_length = 32\n'
            "[parallel]\nthreads = 1\n[train]\nsteps = 1\nlearning_rate = 1e-3\n")
        with h5py.File(folder / "tensors", "w") as file:
            for name in "qkv":
                file[name] = np.ones((1, 8, 1, 4))
        cls.run_program(["prepare", "text", "--output", "corpus", "--tokenizer", "bytes", "--validation", "0.2"], folder)
        cls.run_program(["train", "config", "--run", "run"], folder)
        cls.run_program(["generate", "--checkpoint", "run", "--prompt", "ab", "--tokens", "1", "--state-out", "state"], folder)

    @staticmethod
    def run_program(arguments, folder, codes=(0,)):
        done = subprocess.run([OPTIONS.program, *arguments], cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=HANG_S)
        if done.returncode not in codes:
            raise AssertionError(f"{shown(arguments)} ended with {done.returncode}: {done.stderr!r}")
        return done

    def help_of(self, words):
        return self.run_program([*words, "--help"], self.folder).stdout.decode().partition("\nExample:")[0]

    def commands(self, words=()):
        """All commands that do something."""
        listed = re.findall(r"^  (\w[\w-]*) ", self.help_of(words).partition("\nSubcommands:\n")[2], re.MULTILINE)
        return [command for word in listed for command in self.commands((*words, word))] if listed else [" ".join(words)]

    def options_of(self, command):
        """@returns names of the options and positionals that take a value, and those of flags"""
        text = self.help_of(command.split())
        with_value, flags = [], []
        for names, value in re.findall(r"^ {2,4}(-[\w,-]+)(?: (\S[^\n]*?))?(?:  |$)", text, re.MULTILINE):
            if "--help" not in names:
                (with_value if value else flags).append(names.split(",")[-1])
        positionals = re.search(r"Positionals:\n((?: .*\n)*)", text)
        if positionals:
            with_value += re.findall(r"^ {2}(\w+) [A-Z]", positionals.group(1), re.MULTILINE)
        return with_value, flags

    def line(self, command, base, name=None, value=None):
        prepared = {entry.name: str(entry) for entry in self.prepared.iterdir()}
        chosen = {option: word.format(**prepared) for option, word in base.items()}
        if name:
            chosen[name] = value
        words = command.split()
        for option, word in chosen.items():
            words += [word] if option[0] != "-" else [option] if word is None else [option, word]
        return words

    def bases_with(self, command, option):
        having = [base for base in BASES[command] if option in base]
        return having[:1] or BASES[command]

    def attempt(self, command, option, kind, arguments):
        """Runs the program in a scene of its own. @returns what was wrong, and how it ended"""
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            scene = Scene(self.prepared, pathlib.Path(name))
            before = scene.digests()
            try:
                with writer_of(scene.folder / "pipe") if kind == "pipe" else contextlib.nullcontext():
                    done = self.run_program(arguments, scene.folder, range(-64, 256))
            except subprocess.TimeoutExpired:
                return [f"{shown(arguments)} hangs"], None
            after = scene.digests()
        wrong = []
        if done.returncode not in ALLOWED_CODES:
            wrong.append(f"ended with {done.returncode}")
        try:
            done.stderr.decode()
        except UnicodeDecodeError:
            wrong.append("says what is not UTF-8")
        changed = {path for path in before if after.get(path) != before[path]}
        if changed and (command, option, kind) not in REPLACED:
            wrong.append(f"changed {sorted(changed)}")
        return [f"{shown(arguments)} {what}: {done.stderr!r}" for what in wrong], done

    def attempts_for(self, command, option):
        """Values that name things are left out where any name is a usage error: such an option opens no file."""
        wrong = []
        for base in self.bases_with(command, option):
            takes_names = True
            for kind, value in {**number_values(), **Scene.file_values(self.device)}.items():
                if (kind in Scene.file_values(self.device) and not takes_names) or (command, option, kind) in LONG_WORK:
                    continue
                found, done = self.attempt(command, option, kind, self.line(command, base, option, value))
                wrong += found
                takes_names = takes_names and (kind != "name" or done is None or done.returncode != 2)
        return wrong

    def run_all(self, tasks):
        """Two at a time: each is a process."""
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            wrong = [what for found in pool.map(lambda task: task(), tasks) for what in found]
        self.assertEqual(wrong, [], "\n".join(wrong))

    def test_every_command_has_a_base_that_works(self):
        commands = self.commands()
        self.assertEqual(sorted(BASES), sorted(commands))
        self.assertGreater(len(commands), 10)
        for command in commands:
            with_value, _ = self.options_of(command)
            for base in BASES[command]:
                self.assertEqual(set(base) - set(with_value), set(), "help does not list what the base gives")
                arguments = self.line(command, base)
                found, done = self.attempt(command, None, None, arguments)
                self.assertEqual((found, done.returncode), ([], 0), f"{shown(arguments)}: {done.stderr!r}")

    def test_values_of_every_option(self):
        options = [(command, option) for command in self.commands() for option in self.options_of(command)[0]]
        self.assertGreater(len(options), 100)
        self.run_all([lambda c=command, o=option: self.attempts_for(c, o) for command, option in options])

    def test_flags_and_options_without_a_value(self):
        tasks = []
        for command in self.commands():
            with_value, flags = self.options_of(command)
            for option in flags + [name for name in with_value if name[0] == "-"]:
                for base in self.bases_with(command, option) if (command, option) not in SLOW else ():
                    arguments = self.line(command, base, option, None)
                    tasks.append(lambda c=command, o=option, a=arguments: self.attempt(c, o, None, a)[0])
        self.run_all(tasks)

    def test_settings_that_name_files(self):
        tasks = []
        for command in ("check", "train"):
            for key in FILE_KEYS:
                for kind, value in {"empty": "", "name": "missing", **Scene.file_values(self.device)}.items():
                    arguments = self.line(command, BASES[command][0], "--set", f"{key}={value}")
                    tasks.append(lambda c=command, k=kind, a=arguments: self.attempt(c, "--set", k, a)[0])
        self.run_all(tasks)


def shown(arguments):
    return "rondo " + " ".join(repr(word) if len(word) < 80 else f"{word[:40]!r}...({len(word)})" for word in arguments)


if __name__ == "__main__":
    rest = read_options("program")
    unittest.main(argv=["command_line_test.py", *rest], verbosity=2)

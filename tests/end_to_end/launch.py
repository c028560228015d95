# SPDX-License-Identifier: Apache-2.0
"""Starts the program over MPI on a tiny corpus, for the end-to-end tests."""
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "support"))
from launch_ranks import RANK_VARIABLES, on_ranks  # noqa: E402

CONFIG = """
[model]
layers = 2
d_model = 32
heads = 4
kv_heads = 2
[data]
sequence_length = 96
[train]
steps = {steps}
learning_rate = 3e-3
warmup_steps = 2
[evaluate]
sequences = 1
[checkpoint]
every_steps = 5
every_minutes = 0
[log]
every_steps = 1
[parallel]
threads = 1
"""

# A state of 110 MB, whose save lasts long enough to be interrupted.
LARGE = ["model.d_model=512", "model.layers=3", "train.steps=100000", "checkpoint.every_steps=2"]


# The time after which a test gives up waiting. These tests do not judge how long anything takes on a busy machine.
HANG_S = 300


def wait_until(condition, process, seconds=HANG_S):
    """@returns whether the condition became true while the process was alive."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        if condition():
            return True
        time.sleep(0.002)
    return False


def state_of(pid):
    """The process state in /proc: T is stopped, Z and X are dead."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")")[1].split()[0]
    except OSError:
        return "X"


def is_alive(pid):
    return state_of(pid) not in "ZX"


class Launcher:
    """A folder with a corpus and a configuration, and the ways to start the program in it."""

    def __init__(self, program, mpiexec, steps=40):
        self.program, self.mpiexec = program, mpiexec
        self.started = []
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="rondo-end-to-end-"))
        words = ["ring ", "attention ", "keys ", "values ", "go ", "round ", "the "]
        draw = random.Random(5)
        (self.folder / "text.txt").write_text("".join(draw.choice(words) for _ in range(4000)))
        (self.folder / "run.toml").write_text(CONFIG.format(steps=steps))
        self.corpus = self.folder / "corpus.h5"
        done = self.rondo("prepare", self.folder / "text.txt", "--output", self.corpus, "--tokenizer", "bytes")
        assert done.returncode == 0, done.stderr

    def close(self):
        for process in self.started:
            self.kill(process)
        shutil.rmtree(self.folder, ignore_errors=True)

    def rondo(self, *arguments, **options):
        command = [self.program, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=HANG_S, cwd=self.folder, **options)

    def command(self, run, ranks=2, settings=(), last_rank=(), every_rank=()):
        """`last_rank` precedes the command of the last rank only, e.g. `prlimit --nofile=64`; `every_rank` that of all."""
        common = ["--set", f"data.corpus={self.corpus}", "--run", run]
        for setting in settings:
            common += ["--set", setting]
        train = [*every_rank, self.program, "train", "run.toml", *common]
        if not last_rank:
            return on_ranks(self.mpiexec, ranks, train)
        return on_ranks(self.mpiexec, ranks - 1, [*train, ":", "-n", "1", *last_rank, *train])

    def train(self, run, **options):
        return subprocess.run(self.command(run, **options), capture_output=True, text=True, timeout=HANG_S, cwd=self.folder)

    def start(self, run, **options):
        """Starts training in the background, as a process group of its own."""
        with open(self.log_file(run), "a") as log:
            process = subprocess.Popen(self.command(run, **options), stdout=log, stderr=log, cwd=self.folder,
                                       start_new_session=True)
        self.started.append(process)
        return process

    def log_file(self, run):
        return self.folder / f"{run.replace('/', '-')}.log"

    def log(self, run):
        return self.log_file(run).read_text()

    def record(self, run):
        return json.loads((self.folder / run / "exit.json").read_text())

    def digest(self, run):
        done = self.rondo("checkpoint", "info", run, "--json")
        assert done.returncode == 0, done.stderr
        return max(json.loads(done.stdout)["checkpoints"], key=lambda c: c["step"])["tensors_digest"]

    def newest_step(self, run):
        """The newest step of its committed checkpoints; 0 if there is none."""
        names = [path.name for path in (self.folder / run / "checkpoints").glob("step-*")]
        return max((int(name[5:]) for name in names if name[5:].isdigit()), default=0)

    def ranks_of(self, process):
        """Process ids of the ranks that an mpirun has started, in rank order."""
        children = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(process.pid)], capture_output=True, text=True).stdout
        found = {}
        for line in children.splitlines():
            pid, program = line.split()[:2]
            try:
                environment = pathlib.Path(f"/proc/{pid}/environ").read_text().split("\0")
            except OSError:
                continue
            for variable in environment:
                name, _, value = variable.partition("=")
                if program == self.program and name in RANK_VARIABLES:
                    found[int(value)] = int(pid)
        return [found[rank] for rank in sorted(found)]

    def wait_for_step(self, run, step, process):
        heartbeat = self.folder / run / "heartbeat"

        def reached():
            try:
                return json.loads(heartbeat.read_text())["step"] >= step
            except (OSError, ValueError):
                return False
        return wait_until(reached, process)

    def save_under_way(self, run):
        return next((self.folder / run / "checkpoints").glob("*.partial/state.h5"), None)

    def wait_for_save(self, run, process):
        """Waits until the ranks are writing tensors, which is nearly all of a save."""
        return wait_until(lambda: self.save_under_way(run) is not None, process)

    def stop_inside_a_save(self, run, process):
        """Stops the last rank while the ranks write tensors: the save does not end before SIGCONT, however slow this script is.
        @returns the ranks, or nothing if the program has ended"""
        while self.wait_for_save(run, process):
            ranks = self.ranks_of(process)
            os.kill(ranks[-1], signal.SIGSTOP)
            wait_until(lambda: state_of(ranks[-1]) == "T", process)
            if self.save_under_way(run) is not None:
                return ranks
            os.kill(ranks[-1], signal.SIGCONT)  # the save has ended meanwhile: tries the next one
        return None

    def kill(self, process):
        """kill -9 of every rank and of mpirun: ranks are process groups of their own, and must not outlive the test."""
        if process.poll() is not None:
            return
        for rank in self.ranks_of(process):
            try:
                os.kill(rank, signal.SIGKILL)
            except ProcessLookupError:
                pass
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait(timeout=60)


class LaunchedTest(unittest.TestCase):
    """A test with its own launcher; the command line gives the programs."""
    program = mpiexec = dies_after_mpi_init = None

    @classmethod
    def run_all(cls, arguments):
        LaunchedTest.program, LaunchedTest.mpiexec, LaunchedTest.dies_after_mpi_init = arguments[1:4]
        unittest.main(argv=[arguments[0], *arguments[4:]], verbosity=2)

    def setUp(self):
        self.launcher = Launcher(self.program, self.mpiexec)

    def tearDown(self):
        self.launcher.close()

    def expect(self, done, code, *words):
        self.assertEqual(done.returncode, code, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)

    def expect_record(self, run, **expected):
        record = self.launcher.record(run)
        self.assertEqual({key: record[key] for key in expected}, expected, record)

    def expect_end(self, process, run, codes):
        """The launcher ends with one of these codes, and no rank outlives it."""
        ranks = self.launcher.ranks_of(process)
        code = process.wait(timeout=HANG_S)
        self.assertIn(code, codes, self.launcher.log(run))
        end = time.monotonic() + HANG_S
        while any(map(is_alive, ranks)) and time.monotonic() < end:
            time.sleep(0.01)
        self.assertFalse(any(map(is_alive, ranks)), "a rank outlives the launcher")
        return code

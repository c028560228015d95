# SPDX-License-Identifier: Apache-2.0
"""Starts the program over MPI on a tiny corpus, for the end-to-end tests."""
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import tempfile
import time

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


class Launcher:
    """A folder with a corpus and a configuration, and the ways to start the program in it."""

    def __init__(self, program, mpiexec, steps=40):
        self.program, self.mpiexec = program, mpiexec
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="rondo-end-to-end-"))
        words = ["ring ", "attention ", "keys ", "values ", "go ", "round ", "the "]
        draw = random.Random(5)
        (self.folder / "text.txt").write_text("".join(draw.choice(words) for _ in range(4000)))
        (self.folder / "run.toml").write_text(CONFIG.format(steps=steps))
        self.corpus = self.folder / "corpus.h5"
        done = self.rondo("prepare", self.folder / "text.txt", "--output", self.corpus, "--tokenizer", "bytes")
        assert done.returncode == 0, done.stderr

    def close(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    def rondo(self, *arguments, **options):
        command = [self.program, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=self.folder, **options)

    def command(self, run, ranks=2, settings=()):
        line = [self.mpiexec, "-np", str(ranks), "--oversubscribe", "--bind-to", "none", self.program, "train", "run.toml",
                "--set", f"data.corpus={self.corpus}", "--run", run]
        for setting in settings:
            line += ["--set", setting]
        return line

    def train(self, run, ranks=2, settings=()):
        return subprocess.run(self.command(run, ranks, settings), capture_output=True, text=True, timeout=300, cwd=self.folder)

    def start(self, run, ranks=2, settings=()):
        """In the background, as a process group of its own."""
        with open(self.folder / f"{run}.log", "a") as log:
            return subprocess.Popen(self.command(run, ranks, settings), stdout=log, stderr=log, cwd=self.folder,
                                    start_new_session=True)

    def log(self, run):
        return (self.folder / f"{run}.log").read_text()

    def record(self, run):
        return json.loads((self.folder / run / "exit.json").read_text())

    def digest(self, run):
        done = self.rondo("checkpoint", "info", run, "--json")
        assert done.returncode == 0, done.stderr
        return max(json.loads(done.stdout)["checkpoints"], key=lambda c: c["step"])["tensors_digest"]

    def ranks_of(self, process):
        """Process ids of the ranks that an mpirun has started."""
        children = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(process.pid)], capture_output=True, text=True).stdout
        return [int(line.split()[0]) for line in children.splitlines() if self.program in line]

    def wait_for_step(self, run, step, process, seconds=60):
        heartbeat = self.folder / run / "heartbeat"
        end = time.monotonic() + seconds
        while time.monotonic() < end and process.poll() is None:
            try:
                if json.loads(heartbeat.read_text())["step"] >= step:
                    return True
            except (OSError, ValueError):
                pass
            time.sleep(0.005)
        return False

    def kill(self, process):
        """kill -9 of every rank and of mpirun: ranks are process groups of their own, and must not outlive the test."""
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

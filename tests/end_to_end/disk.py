# SPDX-License-Identifier: Apache-2.0
"""Disks and limits: a failed write ends the program with exit code 3 and a record, and leaves nothing half-written."""
import os
import resource
import signal
import subprocess
import sys
import unittest

from launch import LARGE, LaunchedTest, wait_until


class Disk(LaunchedTest):
    @unittest.skipUnless(os.geteuid() == 0, "only root can mount a small disk")
    def test_disk_without_room(self):
        disk = self.launcher.folder / "small"
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", disk], check=True)
        try:
            done = self.launcher.train("small/run", settings=["train.steps=5"])
            self.expect(done, 3, "bytes are needed", "small/run/checkpoints")
            self.expect_record("small/run", exit_code=3, phase="start")
            self.assertFalse((disk / "run/metrics.jsonl").exists(), "no step was trained in vain")
            self.assertEqual(list((disk / "run/checkpoints").iterdir()), [])
        finally:
            subprocess.run(["umount", disk], check=True)

    def start_until_save(self, run):
        """Stops all ranks inside a save that has reserved its disk space."""
        process = self.launcher.start(run, settings=LARGE)

        def has_reserved():
            state = self.launcher.save_under_way(run)
            try:
                return state is not None and state.stat().st_blocks * 512 > 100e6
            except FileNotFoundError:
                return False
        while True:
            self.assertTrue(wait_until(has_reserved, process), self.launcher.log(run))
            self.signal_all(process, signal.SIGSTOP)
            if self.launcher.save_under_way(run) is not None:
                return process
            self.signal_all(process, signal.SIGCONT)  # the save has ended meanwhile: tries the next one

    def signal_all(self, process, what):
        for rank in self.launcher.ranks_of(process):
            os.kill(rank, what)

    def expect_failed_save(self, process, run, *words):
        self.signal_all(process, signal.SIGCONT)
        self.expect_end(process, run, [3])
        for word in ("checkpoint error", *words):
            self.assertIn(word, self.launcher.log(run))
        self.expect_record(run, cause="checkpoint", exit_code=3, phase="save")
        self.assertEqual(list((self.launcher.folder / run / "checkpoints").iterdir()), [])

    def test_write_that_fails_on_some_ranks_inside_a_save(self):
        for failing in ([0], [1], [0, 1]):
            run = "run-" + "-".join(map(str, failing))
            process = self.start_until_save(run)
            ranks = self.launcher.ranks_of(process)
            for rank in failing:
                resource.prlimit(ranks[rank], resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
            alone = [f"(rank {failing[0]})"] if len(failing) == 1 else []  # an error that all ranks have names none of them
            self.expect_failed_save(process, run, *alone)

    @unittest.skipUnless(os.geteuid() == 0, "only root can mount a small disk")
    def test_disk_that_fills_up_inside_a_save_without_reservation(self):
        disk = self.launcher.folder / "small"
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160m", "tmpfs", disk], check=True)
        try:
            process = self.start_until_save("small/run")
            state = self.launcher.save_under_way("small/run")
            subprocess.run(["fallocate", "--punch-hole", "--offset", "1000000", "--length", str(1 << 30), state], check=True)
            with open(disk / "others", "wb", buffering=0) as others, self.assertRaises(OSError):
                while True:
                    others.write(bytes(4096))
            self.expect_failed_save(process, "small/run")
        finally:
            self.launcher.close()
            subprocess.run(["umount", disk], check=True)

    def limited(self, limit, *arguments):
        """`rondo` with arguments, under a limit on file sizes."""
        command = ["prlimit", f"--fsize={limit}", self.program, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=self.launcher.folder)

    def test_file_size_limit_of_a_checkpoint(self):
        done = self.launcher.train("run", settings=["train.steps=5"], every_rank=["prlimit", "--fsize=100000"])
        self.expect(done, 3, "ulimit -f", "100000 are free")
        self.expect_record("run", cause="checkpoint", exit_code=3, phase="start")
        self.assertEqual(list((self.launcher.folder / "run/checkpoints").iterdir()), [])
        self.assertFalse((self.launcher.folder / "run/metrics.jsonl").exists(), "no step was trained in vain")

    def test_file_size_limit_of_the_metrics(self):
        limit = 8_000_000  # room for a checkpoint
        self.expect(self.launcher.train("run", settings=["train.steps=2"]), 0)
        metrics = self.launcher.folder / "run/metrics.jsonl"
        line = metrics.read_bytes().splitlines(keepends=True)[0]
        metrics.write_bytes(line * (limit // len(line)))  # no room for another line
        done = self.launcher.train("run", settings=["train.steps=3"], every_rank=["prlimit", f"--fsize={limit}"])
        self.expect(done, 3, "File too large", "metrics.jsonl")
        self.expect_record("run", cause="data", exit_code=3, rank=0)
        self.assertTrue(metrics.read_text().endswith("}\n"), "whole lines only")
        self.assertTrue((self.launcher.folder / "run/checkpoints/step-3/commit.json").exists(), "the last step is saved")

    def test_file_size_limit_of_a_corpus(self):
        before = set(self.launcher.folder.iterdir())
        size = self.launcher.corpus.stat().st_size
        for limit in (1000, size // 2, size - 100):
            done = self.limited(limit, "prepare", "text.txt", "--output", "limited.h5", "--tokenizer", "bytes")
            self.expect(done, 3, "data error")
            self.assertEqual(set(self.launcher.folder.iterdir()), before, "nothing half-written")

    def test_file_size_limit_of_an_evaluation(self):
        self.expect(self.launcher.train("run", settings=["train.steps=2"]), 0)
        for limit in (500, 3000):
            done = self.limited(limit, "eval", "--checkpoint", "run", "--corpus", "corpus.h5", "--split", "train",
                                "--sequence-length", "2000", "--per-token", "limited.h5")
            self.expect(done, 3, "limited.h5")
            self.assertEqual(list(self.launcher.folder.glob("limited*")), [], "nothing half-written")


if __name__ == "__main__":
    Disk.run_all(sys.argv)

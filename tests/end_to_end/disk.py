# SPDX-License-Identifier: Apache-2.0
"""Disks and limits: what cannot be written ends with exit code 3 and a record, and leaves nothing half-written."""
import os
import subprocess
import sys
import unittest

from launch import LaunchedTest


class Disk(LaunchedTest):
    @unittest.skipUnless(os.geteuid() == 0, "only root can mount a small disk")
    def test_disk_without_room(self):
        disk = self.launcher.folder / "small"
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", disk], check=True)
        try:
            done = self.launcher.train("small/run", settings=["train.steps=5"])
            self.expect(done, 3, "bytes are needed", "small/run/checkpoints")
            self.expect_record("small/run", exit_code=3)
            self.assertFalse((disk / "run/checkpoints/step-5").exists())
        finally:
            subprocess.run(["umount", disk], check=True)

    def limited(self, limit, *arguments):
        """`rondo` with arguments, under a limit on file sizes."""
        command = ["prlimit", f"--fsize={limit}", self.program, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=self.launcher.folder)

    def test_file_size_limit_of_a_checkpoint(self):
        done = self.launcher.train("run", settings=["train.steps=5"], every_rank=["prlimit", "--fsize=100000"])
        self.expect(done, 3, "ulimit -f", "100000 are free")
        self.expect_record("run", cause="checkpoint", exit_code=3)
        self.assertEqual(list((self.launcher.folder / "run/checkpoints").iterdir()), [])

    def test_file_size_limit_of_the_metrics(self):
        settings = ["train.steps=50", "checkpoint.every_steps=0"]
        done = self.launcher.train("run", settings=settings, every_rank=["prlimit", "--fsize=5000"])
        self.expect(done, 3, "File too large", "metrics.jsonl")
        self.expect_record("run", cause="data", exit_code=3, rank=0)
        lines = (self.launcher.folder / "run/metrics.jsonl").read_text()
        self.assertTrue(lines.endswith("}\n"), "whole lines only")

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

# SPDX-License-Identifier: Apache-2.0
"""What goes wrong ends with the right exit code, a record, and a message that helps."""
import os
import signal
import subprocess
import sys
import time
import unittest

from launch import Launcher

PROGRAM, MPIEXEC = sys.argv[1:3]


class Faults(unittest.TestCase):
    def setUp(self):
        self.launcher = Launcher(PROGRAM, MPIEXEC)

    def tearDown(self):
        self.launcher.close()

    def expect(self, done, code, *words):
        self.assertEqual(done.returncode, code, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)

    def test_bad_configuration(self):
        done = self.launcher.train("run", settings=["model.heads=3", "train.steps=-1"])
        self.expect(done, 2, "train.steps")
        self.assertEqual(done.stderr.count("configuration error"), 1, "one rank speaks")

    def test_missing_corpus(self):
        self.expect(self.launcher.train("run", settings=["data.corpus=nowhere.h5"]), 3, "nowhere.h5")

    def test_corrupt_checkpoint(self):
        short = ["train.steps=5"]
        self.expect(self.launcher.train("run", settings=short), 0)
        state = self.launcher.folder / "run/checkpoints/step-5/state.h5"
        data = bytearray(state.read_bytes())
        for at in range(len(data) // 2, len(data) // 2 + 64):
            data[at] ^= 0xFF
        state.write_bytes(data)
        done = self.launcher.train("run", settings=["train.steps=10"])
        self.expect(done, 3, "step-5")
        self.assertEqual(self.launcher.record("run")["exit_code"], 3)

    def test_non_finite_training(self):
        done = self.launcher.train("run", settings=["train.learning_rate=1e30", "train.warmup_steps=0", "train.clip_norm=0"])
        self.expect(done, 5, "non-finite", "rank", "step", "text.txt")
        record = self.launcher.record("run")
        self.assertEqual((record["exit_code"], record["cause"], record["retry"]), (5, "non-finite", False))

    def test_second_process_on_one_run(self):
        first = self.launcher.start("run", settings=["train.steps=100000"])
        try:
            self.assertTrue(self.launcher.wait_for_step("run", 1, first), self.launcher.log("run"))
            self.expect(self.launcher.train("run", settings=["train.steps=100000"]), 3, "another run")
        finally:
            self.launcher.kill(first)

    def test_signals_end_with_a_checkpoint_and_75(self):
        for name in (signal.SIGUSR1, signal.SIGUSR2):
            run = f"run-{name.name}"
            process = self.launcher.start(run, settings=["train.steps=100000"])
            self.assertTrue(self.launcher.wait_for_step(run, 3, process), self.launcher.log(run))
            process.send_signal(name)  # mpirun passes it on
            self.assertEqual(process.wait(timeout=60), 75, self.launcher.log(run))
            record = self.launcher.record(run)
            self.assertEqual((record["cause"], record["exit_code"], record["retry"]), ("stopped", 75, True))
            self.assertIn("stopping early", self.launcher.log(run))
            self.assertEqual(self.launcher.rondo("checkpoint", "verify", run).returncode, 0)

    def test_sigterm_to_all_ranks_saves(self):
        process = self.launcher.start("run", settings=["train.steps=100000"])
        self.assertTrue(self.launcher.wait_for_step("run", 3, process), self.launcher.log("run"))
        for rank in self.launcher.ranks_of(process):
            os.kill(rank, signal.SIGTERM)
        self.assertEqual(process.wait(timeout=60), 75, self.launcher.log("run"))
        self.assertEqual(self.launcher.record("run")["cause"], "stopped")

    def test_killed_rank_ends_all_and_is_reported(self):
        for how in (signal.SIGKILL, signal.SIGSEGV):
            run = f"run-{how.name}"
            process = self.launcher.start(run, settings=["train.steps=100000"])
            self.assertTrue(self.launcher.wait_for_step(run, 2, process), self.launcher.log(run))
            os.kill(self.launcher.ranks_of(process)[-1], how)
            start = time.monotonic()
            code = process.wait(timeout=60)
            self.assertNotIn(code, (0, 75), self.launcher.log(run))
            self.assertLess(time.monotonic() - start, 15, "all ranks end soon")
            self.assertNotEqual(self.launcher.record(run)["cause"], "stopped")
            again = self.launcher.train(run, settings=["train.steps=100000", "train.time_limit=4s"])
            self.assertEqual(again.returncode, 75, again.stderr)

    @unittest.skipUnless(os.geteuid() == 0, "only root can mount a small disk")
    def test_disk_without_room(self):
        disk = self.launcher.folder / "small"
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", disk], check=True)
        try:
            done = self.launcher.train("small/run", settings=["train.steps=5"])
            self.expect(done, 3, "bytes are needed", "small/run/checkpoints")
            self.assertEqual(self.launcher.record("small/run")["exit_code"], 3)
            self.assertFalse((disk / "run/checkpoints/step-5").exists())
        finally:
            subprocess.run(["umount", disk], check=True)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)

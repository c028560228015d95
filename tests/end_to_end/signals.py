# SPDX-License-Identifier: Apache-2.0
"""Signals: a request to stop ends with a committed checkpoint and 75, also inside a save; a rank that dies ends all others."""
import os
import signal
import sys
import time

from launch import LARGE, LaunchedTest

ENDLESS = ["train.steps=100000"]


class Signals(LaunchedTest):
    def start_until_step(self, run, step, settings=ENDLESS):
        process = self.launcher.start(run, settings=settings)
        self.assertTrue(self.launcher.wait_for_step(run, step, process), self.launcher.log(run))
        return process

    def start_until_save(self, run):
        """@returns the launcher and its ranks, the last of which is stopped inside a save"""
        process = self.launcher.start(run, settings=LARGE)
        ranks = self.launcher.stop_inside_a_save(run, process)
        self.assertIsNotNone(ranks, self.launcher.log(run))
        return process, ranks

    def expect_to_stop_after_the_save(self, process, run):
        self.expect_end(process, run, [75])
        self.expect_record(run, cause="stopped", exit_code=75, retry=True)
        self.expect_whole(run)

    def expect_whole(self, run):
        """There is no trace of an unfinished save, and all checkpoints are valid."""
        self.assertEqual(list((self.launcher.folder / run / "checkpoints").glob("*.partial")), [])
        self.assertEqual(self.launcher.rondo("checkpoint", "verify", run).returncode, 0)

    def test_user_signals_end_with_a_checkpoint_and_75(self):
        for name in (signal.SIGUSR1, signal.SIGUSR2):
            run = f"run-{name.name}"
            process = self.start_until_step(run, 3)
            process.send_signal(name)  # mpirun forwards it
            self.expect_end(process, run, [75])
            self.expect_record(run, cause="stopped", exit_code=75, retry=True)
            self.assertIn("stopping early", self.launcher.log(run))
            self.expect_whole(run)

    def test_sigterm_to_all_ranks_saves(self):
        process = self.start_until_step("run", 3)
        for rank in self.launcher.ranks_of(process):
            os.kill(rank, signal.SIGTERM)
        self.expect_end(process, "run", [75])
        self.expect_record("run", cause="stopped")

    def test_sigterm_inside_a_save_lets_it_end(self):
        process, ranks = self.start_until_save("run")
        for rank in ranks:
            os.kill(rank, signal.SIGTERM)
        os.kill(ranks[-1], signal.SIGCONT)
        self.expect_to_stop_after_the_save(process, "run")
        again = self.launcher.train("run", settings=[*LARGE, "train.time_limit=1s"])
        self.expect(again, 75, "continuing from step")

    def test_sigterm_waits_for_a_rank_that_is_slow_in_a_save(self):
        process, (first, last) = self.start_until_save("run")
        os.kill(first, signal.SIGTERM)
        time.sleep(2)  # longer than a peer may take to answer during a step
        os.kill(last, signal.SIGCONT)
        self.expect_to_stop_after_the_save(process, "run")

    def test_sigterm_to_mpirun_inside_a_save_leaves_a_run_that_goes_on(self):
        process, ranks = self.start_until_save("run")
        process.send_signal(signal.SIGTERM)  # mpirun forwards it, and kills the ranks a second later
        os.kill(ranks[-1], signal.SIGCONT)
        self.expect_end(process, "run", range(1, 256))
        again = self.launcher.train("run", settings=[*LARGE, "train.time_limit=1s"])
        self.expect(again, 75)
        self.expect_whole("run")

    def test_killed_rank_ends_all_and_is_reported(self):
        for how in (signal.SIGKILL, signal.SIGSEGV):
            run = f"run-{how.name}"
            process = self.start_until_step(run, 2)
            os.kill(self.launcher.ranks_of(process)[-1], how)
            self.assertNotEqual(self.expect_end(process, run, range(1, 256)), 75, self.launcher.log(run))
            self.assertNotEqual(self.launcher.record(run)["cause"], "stopped")
            again = self.launcher.train(run, settings=[*ENDLESS, "train.time_limit=4s"])
            self.assertEqual(again.returncode, 75, again.stderr)


if __name__ == "__main__":
    Signals.run_all(sys.argv)

# SPDX-License-Identifier: Apache-2.0
"""A rank that hangs ends the run, and the record names it; a rank that is slow in a save does not."""
import os
import signal
import sys
import time

from launch import LARGE, LaunchedTest

NO_SAVES = ["train.steps=100000", "checkpoint.every_steps=0"]


class Stalls(LaunchedTest):
    def test_stopped_rank_ends_the_run(self):
        for rank in (0, 1):
            run = f"run-{rank}"
            process = self.launcher.start(run, settings=[*NO_SAVES, "train.stall_timeout=3s"])
            self.assertTrue(self.launcher.wait_for_step(run, 3, process), self.launcher.log(run))
            os.kill(self.launcher.ranks_of(process)[rank], signal.SIGSTOP)
            self.expect_end(process, run, [4])
            self.expect_record(run, cause="stalled", exit_code=4, rank=rank, retry=True)
            self.assertIn(f"rank {rank} on", self.launcher.log(run))
        again = self.launcher.train("run-1", settings=["train.steps=100000", "train.time_limit=2s"])
        self.expect(again, 75)

    def test_slow_save_is_no_stall(self):
        process = self.launcher.start("run", settings=[*LARGE, "train.stall_timeout=3s"])
        ranks = self.launcher.stop_inside_a_save("run", process)
        self.assertIsNotNone(ranks, self.launcher.log("run"))
        first, last = ranks
        time.sleep(10)  # longer than the timeout and the time for notes together
        os.kill(last, signal.SIGCONT)
        os.kill(first, signal.SIGUSR1)
        self.expect_end(process, "run", [75])


if __name__ == "__main__":
    Stalls.run_all(sys.argv)

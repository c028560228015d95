# SPDX-License-Identifier: Apache-2.0
"""Every failure ends with the right exit code, a record, and a helpful message."""
import sys

from launch import LARGE, LaunchedTest


class Faults(LaunchedTest):
    def test_bad_configuration(self):
        done = self.launcher.train("run", settings=["model.heads=3", "train.steps=-1"])
        self.expect(done, 2, "train.steps")
        self.assertEqual(done.stderr.count("configuration error"), 1, "one rank speaks")
        self.expect_record("run", cause="configuration", exit_code=2, phase="start", retry=False)

    def test_missing_corpus(self):
        self.expect(self.launcher.train("run", settings=["data.corpus=nowhere.h5"]), 3, "nowhere.h5")
        self.expect_record("run", cause="data", exit_code=3, phase="start", retry=False)

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
        self.expect_record("run", exit_code=3)

    def test_non_finite_training(self):
        done = self.launcher.train("run", settings=["train.learning_rate=1e30", "train.warmup_steps=0", "train.clip_norm=0"])
        self.expect(done, 5, "non-finite", "rank", "step", "text.txt")
        self.expect_record("run", exit_code=5, cause="non-finite", retry=False)

    def test_second_process_on_one_run(self):
        first = self.launcher.start("run", settings=["train.steps=100000"])
        try:
            self.assertTrue(self.launcher.wait_for_step("run", 1, first), self.launcher.log("run"))
            self.expect(self.launcher.train("run", settings=["train.steps=100000"]), 3, "another run")
            self.expect_record("run", cause="running")
        finally:
            self.launcher.kill(first)

    def test_out_of_memory_on_one_rank_ends_all(self):
        done = self.launcher.train("run", settings=LARGE, last_rank=["prlimit", f"--data={120 << 20}"])
        self.expect(done, 4, "cannot allocate", "(rank 1)")
        self.expect_record("run", cause="device", exit_code=4, rank=1, retry=False)

    def test_too_few_descriptors_on_one_rank_end_all(self):
        for descriptors in range(8, 26, 2):  # first too few for MPI, then too few for the corpus, at last enough
            run = f"run-{descriptors}"
            done = self.launcher.train(run, settings=["train.steps=2"], last_rank=["prlimit", f"--nofile={descriptors}"])
            if done.returncode == 0:
                break
            self.assertNotEqual(done.returncode, 75)
            if (self.launcher.folder / run).exists():  # else the rank had too few to start MPI
                self.assertNotIn(self.launcher.record(run)["cause"], ["finished", "stopped"], (descriptors, done.stderr))
        self.expect_record(run, cause="finished")

    def expect_lost_rank(self, process, run):
        self.assertNotEqual(self.expect_end(process, run, range(1, 256)), 75, self.launcher.log(run))

    def test_rank_killed_before_mpi_starts(self):
        process = self.launcher.start("run", last_rank=["sh", "-c", "kill -9 $$"])
        self.expect_lost_rank(process, "run")
        self.assertFalse((self.launcher.folder / "run/exit.json").exists(), "nothing claims a success")

    def test_rank_killed_before_the_first_collective(self):
        self.expect(self.launcher.train("run", settings=["train.steps=2"]), 0)
        self.expect_record("run", cause="finished")
        process = self.launcher.start("run", last_rank=[self.dies_after_mpi_init])
        self.expect_lost_rank(process, "run")
        self.expect_record("run", cause="running", exit_code=0, retry=True)


if __name__ == "__main__":
    Faults.run_all(sys.argv)

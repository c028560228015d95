# SPDX-License-Identifier: Apache-2.0
"""Thirty kill -9 of all ranks at random times, half of them inside a save: the run always goes on, and ends as one that
nobody touched."""
import random
import sys
import time
import unittest

from launch import Launcher

PROGRAM, MPIEXEC = sys.argv[1:3]
KILLS_FOR_EACH_RANK_COUNT = 15
STEPS = 200


class Kills(unittest.TestCase):
    def kill_again_and_again(self, ranks):
        launcher = Launcher(PROGRAM, MPIEXEC, steps=STEPS)
        draw = random.Random(ranks)
        settings = ["checkpoint.every_steps=4", "checkpoint.keep=2"]
        try:
            untouched = launcher.train("untouched", ranks, settings)
            self.assertEqual(untouched.returncode, 0, untouched.stderr)
            inside_saves = 0
            for kill in range(KILLS_FOR_EACH_RANK_COUNT):
                process = launcher.start("run", ranks, settings)
                checkpoints = launcher.folder / "run/checkpoints"
                if kill % 2 == 0:  # as soon as a save has begun
                    end = time.monotonic() + 30
                    while process.poll() is None and time.monotonic() < end:
                        if any(checkpoints.glob("*.partial")):
                            inside_saves += 1
                            break
                else:
                    time.sleep(0.3 + draw.random())
                self.assertIsNone(process.poll(), "the run must outlive all kills: " + launcher.log("run")[-2000:])
                launcher.kill(process)
            finished = launcher.train("run", ranks, settings)
            self.assertEqual(finished.returncode, 0, finished.stderr)
            self.assertEqual(launcher.digest("run"), launcher.digest("untouched"))
            self.assertGreaterEqual(inside_saves, KILLS_FOR_EACH_RANK_COUNT // 2)
            steps = [line for line in (launcher.folder / "run/metrics.jsonl").read_text().splitlines() if '"loss"' in line]
            self.assertEqual(len(steps), STEPS, "every step is in the metrics once")
        finally:
            launcher.close()

    def test_two_ranks(self):
        self.kill_again_and_again(2)

    def test_four_ranks(self):
        self.kill_again_and_again(4)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)

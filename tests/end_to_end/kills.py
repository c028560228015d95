# SPDX-License-Identifier: Apache-2.0
"""At least fifteen kill -9 of all ranks, on two and on four ranks: eight or more inside a save, the others while the run starts
and during its steps. The run always resumes, and ends like a run without interruptions."""
import random
import sys
import time

from launch import LaunchedTest, wait_until

KILLS, KILLS_INSIDE_SAVES = 15, 8


class Kills(LaunchedTest):
    def kill_once(self, ranks, settings, draw, aim_at_a_save):
        """@returns whether it was inside a save."""
        heartbeat = self.launcher.folder / "run/heartbeat"
        heartbeat.unlink(missing_ok=True)
        process = self.launcher.start("run", ranks=ranks, settings=settings)
        if aim_at_a_save:
            if draw.random() < 0.5:  # else aims at the first save of this start, which would always be the same one
                before = self.launcher.newest_step("run")
                wait_until(lambda: self.launcher.newest_step("run") > before, process)
            self.launcher.wait_for_save("run", process)
        elif draw.random() < 0.5:
            time.sleep(0.5 * draw.random())
        else:
            self.launcher.wait_for_step("run", 1, process)
            time.sleep(0.1 * draw.random())
        self.assertIsNone(process.poll(), "the run must outlive all kills: " + self.launcher.log("run")[-2000:])
        self.launcher.kill(process)
        return self.launcher.save_under_way("run") is not None

    def kill_again_and_again(self, ranks):
        draw = random.Random(ranks)
        # How far a run gets between two kills depends on the machine, so only the last start has an end: train.steps.
        settings = ["checkpoint.every_steps=4", "checkpoint.keep=2", "train.schedule=constant"]
        endless = [*settings, "train.steps=1000000"]
        kills = inside_saves = 0
        while kills < KILLS or inside_saves < KILLS_INSIDE_SAVES:
            kills += 1
            inside_saves += self.kill_once(ranks, endless, draw, aim_at_a_save=inside_saves < KILLS_INSIDE_SAVES)
        steps = self.launcher.newest_step("run") + 6
        settings.append(f"train.steps={steps}")
        self.expect(self.launcher.train("run", ranks=ranks, settings=settings), 0)
        self.expect(self.launcher.train("untouched", ranks=ranks, settings=settings), 0)
        self.assertEqual(self.launcher.digest("run"), self.launcher.digest("untouched"))
        lines = (self.launcher.folder / "run/metrics.jsonl").read_text().splitlines()
        self.assertEqual(sum('"loss"' in line for line in lines), steps, "every step is in the metrics once")
        print(f"{kills} kills on {ranks} ranks, {inside_saves} inside a save", file=sys.stderr)

    def test_two_ranks(self):
        self.kill_again_and_again(2)

    def test_four_ranks(self):
        self.kill_again_and_again(4)


if __name__ == "__main__":
    Kills.run_all(sys.argv)

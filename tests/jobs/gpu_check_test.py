# SPDX-License-Identifier: Apache-2.0
"""Steps of jobs/gpu-check.sh on GPUs of the tests: what they ask of `rondo`, what they read from it and what they make of it.
Shapes are made small on the way, so the figures mean nothing."""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

OPTIONS = None
HERE = pathlib.Path(__file__).resolve().parent


class GpuCheck(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.folder = pathlib.Path(cls.temporary.name)
        for name, text in (("build/bin/rondo", f'#!/bin/sh\nexec {sys.executable} {HERE}/small_rondo.py {OPTIONS.program} "$@"\n'),
                           ("tools/nvidia-smi", "#!/bin/sh\necho 'GPU 0: of the tests'\necho 'GPU 1: of the tests'\n")):
            path = cls.folder / name
            path.parent.mkdir(parents=True)
            path.write_text(text)
            path.chmod(0o755)
        libraries = cls.folder / "build/lib"
        libraries.mkdir()
        (libraries / "librondo.so").symlink_to(OPTIONS.library)
        (libraries / "librondo_cuda.so").symlink_to(OPTIONS.guarded)

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def check(self, *words):
        output = self.folder / "output"
        done = subprocess.run([f"{OPTIONS.source}/jobs/gpu-check.sh", "--build", self.folder / "build", "--output", output, *words],
                              capture_output=True, text=True, timeout=600,
                              env={**os.environ, "PATH": f"{self.folder / 'tools'}:{os.environ['PATH']}"})
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr + "".join(p.read_text() for p in output.glob("*.log")))
        return done.stdout, {step["name"]: step for step in json.loads((output / "gpu-check.json").read_text())["steps"]}

    def test_goals_stand_beside_the_figures_and_slowness_is_no_failure(self):
        text, steps = self.check("--only", "128", "--only", "split", "--only", "peak")
        attention = steps["attention-cudnn-128"]
        self.assertEqual((attention["verdict"], attention["figures"]["goals"]), ("ok", "0 ok, 12 short"))  # 3 lengths, 2 masks, 2 passes
        self.assertEqual(len(attention["figures"]["rows"]), 20)
        for row in attention["figures"]["rows"]:
            self.assertEqual(row["head_dim"], 128)
            self.assertEqual("goal" in row, row["tokens"] >= 32768)
        self.assertRegex(text, r"cudnn d 128 causal forward +8K \d+ .* 128K \d+ \(short\)")
        rows = steps["split"]["figures"]["rows"]
        self.assertEqual([(row["kernel"], row["mask"], row["pass"]) for row in rows],
                         [(kernel, mask, which) for kernel in ("auto", "fused") for mask in ("causal", "full")
                          for which in ("forward", "backward")])
        for row in rows:
            self.assertEqual(row["verdict"], "ok" if row["overhead"] <= 0.03 else "short")
        self.assertGreater(steps["peak"]["figures"]["tflops"], 0)

    def test_feed_forward_takes_the_same_scratch_for_all_tokens(self):
        _, steps = self.check("--only", "feed-forward")
        rows = steps["feed-forward"]["figures"]["rows"]
        self.assertEqual(len(rows), 12)
        self.assertEqual(len({row["scratch_mb"] for row in rows if row["pass"] == "forward"}), 1)

    def test_the_memory_is_measured_under_every_rule(self):
        text, steps = self.check("--only", "memory")
        rows = steps["memory"]["figures"]["rows"]
        self.assertEqual(len(rows), 24)  # 2 head dimensions, 3 rules, 2 lengths, 2 passes
        self.assertEqual({row["rule"] for row in rows}, {"linear", "delta", "delta_corrected"})
        self.assertRegex(text, r"delta_corrected d 128 backward, ms +32K [0-9.]+  128K [0-9.]+")

    def test_a_training_step_is_compared_with_its_ceiling(self):
        _, steps = self.check("--only", "step-0.5b-32k")
        figures = steps["step-0.5b-32k"]["figures"]
        self.assertAlmostEqual(figures["share_of_ceiling"], figures["tokens_per_s"] / 63e3)

    def test_runs_repeat_and_change_devices(self):
        _, steps = self.check("--only", "deterministic", "--only", "exchange")
        self.assertRegex(steps["deterministic"]["figures"]["digest"], "^[0-9a-f]{32}$")
        self.assertEqual(steps["exchange"]["verdict"], "ok")

    def test_pytorch_is_skipped_visibly_where_it_is_missing(self):
        _, steps = self.check("--only", "pytorch")
        if steps["pytorch"]["verdict"] == "ok":
            self.skipTest("PyTorch is here")
        self.assertEqual(steps["pytorch"]["verdict"], "skipped")
        self.assertIn("PyTorch", steps["pytorch"]["reason"])

    def test_several_gpus_are_compared_with_one_and_more_than_there_are_is_skipped(self):
        _, steps = self.check("--multi", "--only", "nccl")
        figures = steps["nccl-2"]["figures"]
        self.assertLess(figures["largest_difference"], 0.02)
        for which in ("forward", "backward"):
            self.assertGreater(figures[f"{which}_tflops_a_rank"], 0)
            self.assertTrue(0 <= figures[f"{which}_exposed_share"])
        self.assertEqual(steps["nccl-4"]["reason"], "needs 4 GPUs, nvidia-smi shows 2")

    def test_two_machines_are_named_with_equally_many_ranks(self):
        text, _ = self.check("--dry-run", "--multi", "--hosts", "north,south", "--only", "nodes-2x8")
        self.assertIn("-n 16 --bind-to none --host north:8,south:8 --map-by slot -x ", text)
        self.assertIn("-x LD_LIBRARY_PATH", text)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for option in ("program", "library", "guarded", "source"):
        parser.add_argument(f"--{option}")
    OPTIONS, rest = parser.parse_known_args()
    unittest.main(argv=[sys.argv[0], *rest])

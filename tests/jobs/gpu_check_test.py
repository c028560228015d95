# SPDX-License-Identifier: Apache-2.0
"""Steps of jobs/gpu-check.sh on mock devices: what they ask of `rondo`, what they read from it and what they make of it. Shapes
are made small on the way, so the figures mean nothing."""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import unittest

OPTIONS = None
HERE = pathlib.Path(__file__).resolve().parent


class GpuCheck(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = pathlib.Path(temporary.name)
        self.script("build/bin/rondo", f'exec {sys.executable} {HERE}/small_rondo.py {OPTIONS.program} "$@"')
        self.script("tools/nvidia-smi", "echo 'GPU 0: mock device'\necho 'GPU 1: mock device'")
        libraries = self.folder / "build/lib"
        libraries.mkdir()
        (libraries / "librondo.so").symlink_to(OPTIONS.library)
        (libraries / "librondo_cuda.so").symlink_to(OPTIONS.guarded)

    def script(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def gpu_tests(self, **programs):
        (self.folder / "build/tests").mkdir(exist_ok=True)
        (self.folder / "build/tests/gpu_tests").write_text("".join(f"{name} 0\n" for name in programs))
        for name, text in programs.items():
            self.script(f"build/tests/{name}", text)

    def started(self, *words):
        return subprocess.run([f"{OPTIONS.source}/jobs/gpu-check.sh", "--build", self.folder / "build", *words], capture_output=True,
                              text=True, timeout=600, env={**os.environ, "PATH": f"{self.folder / 'tools'}:{os.environ['PATH']}"})

    def check(self, *words, code=0):
        """(stdout, steps by name); the output folder has two files, and nothing else."""
        output = self.folder / "output"
        done = self.started("--output", output, *words)
        self.assertEqual(sorted(path.name for path in output.iterdir()), ["gpu-check-logs.tar.gz", "gpu-check.json"])
        with tarfile.open(output / "gpu-check-logs.tar.gz") as archive:
            self.logs = {pathlib.Path(name).name: archive.extractfile(name).read().decode() for name in archive.getnames()
                         if name.endswith(".log")}
        self.assertEqual(done.returncode, code, done.stdout + done.stderr + "".join(self.logs.values()))
        return done.stdout, {step["name"]: step for step in json.loads((output / "gpu-check.json").read_text())["steps"]}

    def test_goals_stand_beside_the_figures_and_slowness_is_no_failure(self):
        text, steps = self.check("--only", "attention-cudnn-128", "--only", "split", "--only", "peak")
        attention = steps["attention-cudnn-128"]
        self.assertEqual(attention["verdict"], "below goal")
        self.assertEqual([(row["tokens"], row["mask"], row["pass"], row["goal"]) for row in attention["figures"]["rows"]],
                         [(tokens, mask, which, goal) for mask in ("causal", "full") for tokens in (32768, 131072)
                          for which, goal in (("forward", 690), ("backward", 580))])
        self.assertRegex(text, r"below goal cudnn d 128 causal forward 128K, TFLOP/s +\d+ \(goal 690\)")
        other = steps["attention-cudnn-128-all"]
        self.assertEqual((other["verdict"], len(other["verdicts"]), len(other["figures"]["rows"])), ("below goal", 4, 12))
        rows = steps["split"]["figures"]["rows"]
        self.assertEqual([(row["kernel"], row["mask"], row["pass"]) for row in rows],
                         [(kernel, mask, which) for kernel in ("auto", "fused") for mask in ("causal", "full")
                          for which in ("forward", "backward")])
        self.assertEqual([one["verdict"] for one in steps["split"]["verdicts"]],
                         ["PASS" if row["overhead"] <= 0.03 else "below goal" for row in rows])
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
        self.assertRegex(text, r"delta_corrected d 128 backward 128K, ms +[0-9.]+")

    def test_training_steps_have_a_goal_for_each_setting_of_deterministic(self):
        text, steps = self.check("--only", "step-1.5b-32k")
        for name, goal in (("off", "0.420"), ("on", "0.240")):
            step = steps[f"step-1.5b-32k-{name}"]
            self.assertEqual(step["figures"]["deterministic"], name == "on")
            self.assertEqual([one["goal"] for one in step["verdicts"]], [goal])
        self.assertRegex(text, r"below goal 32K tokens, train.deterministic true: \d+ tokens/s, MFU  [0-9.]+ \(goal 0.240\)")
        log = self.logs["02-step-1.5b-32k-on.log"]
        self.assertIn("train.deterministic=true", log)

    def test_runs_repeat_and_change_devices(self):
        _, steps = self.check("--only", "deterministic", "--only", "exchange")
        self.assertRegex(steps["deterministic"]["figures"]["digest"], "^[0-9a-f]{32}$")
        self.assertEqual(steps["exchange"]["verdict"], "PASS")

    def test_a_failing_test_program_does_not_stop_the_others(self):
        self.gpu_tests(first="echo '[       OK ] Right.Case (1 ms)'", second="""
echo '[       OK ] Wrong.Other (1 ms)'
echo '[  FAILED  ] Wrong.Case, where GetParam() = 3 (2 ms)'
echo '[  FAILED  ] 1 test, listed below:'
echo '[  FAILED  ] Wrong.Case, where GetParam() = 3'
exit 1""", third="kill -SEGV $$", fourth="echo '[  SKIPPED ] Lazy.Case (0 ms)'", fifth="echo '[       OK ] Last.Case (1 ms)'")
        text, steps = self.check("--only", "operations", code=1)
        step = steps["operations"]
        self.assertEqual((step["verdict"], step["figures"]["tests_passed"]), ("FAIL", 3))
        self.assertEqual([(one["verdict"], one["what"]) for one in step["verdicts"]],
                         [("PASS", "first"), ("FAIL", "second Wrong.Case"), ("FAIL", "third ended with -11"),
                          ("FAIL", "fourth Lazy.Case was skipped on a machine with a GPU"), ("PASS", "fifth")])
        self.assertIn("FAIL       second Wrong.Case", text)

    def test_the_sanitizer_tells_what_it_found_also_where_it_was_cut_off(self):
        self.gpu_tests(fused_attention_gpu_test="")
        self.script("tools/compute-sanitizer", "echo '========= Invalid __global__ write of size 4 bytes'; exit 9")
        _, steps = self.check("--only", "memcheck-fused", code=1)
        self.assertEqual(steps["memcheck-fused"]["verdicts"][0]["figure"], "exit code 9")
        self.script("tools/compute-sanitizer", "exit 0")
        _, steps = self.check("--only", "memcheck-fused")
        self.assertEqual(steps["memcheck-fused"]["verdict"], "PASS")

    def test_ncu_gives_a_line_for_each_kernel(self):
        self.script("tools/ncu", f"""
case "$*" in
  *--import*) cat {HERE}/ncu_details.out ;;
  *) touch "$(echo "$*" | sed 's/.*--export \\([^ ]*\\) .*/\\1/').ncu-rep" ;;
esac""")
        text, steps = self.check("--only", "ncu")
        self.assertEqual(steps["ncu"]["figures"]["kernels"],
                         [{"kernel": "fused_forward_kernel", "Duration": "4.60 ms", "Memory Throughput": "21.30 %",
                           "Registers Per Thread": "255 register/thread", "Achieved Occupancy": "12.48 %"},
                          {"kernel": "fused_d_kv_kernel", "Duration": "1,204.10 us"}])
        self.assertIn("fused_d_kv_kernel  Duration 1,204.10 us", text)
        self.script("tools/ncu", "echo '==ERROR== ERR_NVGPUCTRPERM - The user does not have permission'; exit 1")
        _, steps = self.check("--only", "ncu")
        self.assertEqual((steps["ncu"]["verdict"], steps["ncu"]["reason"]),
                         ("not run", "this machine does not let its users read the GPU's counters"))

    def test_carried_losses_take_the_place_of_a_training_on_cpus_unless_they_are_stale(self):
        references = self.folder / "build/reference-curves.json"
        self.assertEqual(self.started("--write-references", references).returncode, 0)
        _, steps = self.check("--only", "curve-4")
        self.assertEqual([(one["verdict"], one["goal"]) for one in steps["curve-4"]["verdicts"]], [("PASS", "<= 0.02")])
        self.assertNotIn("parallel.device=cpu", self.logs["01-curve-4.log"])
        carried = json.loads(references.read_text())
        for key, words in (("program", "another program"), ("corpus", "another corpus"), ("curves", "other settings")):
            references.write_text(json.dumps({**carried, key: {} if key == "curves" else "0"}))
            _, steps = self.check("--only", "curve-4", code=1)
            self.assertEqual(steps["curve-4"]["verdict"], "FAIL")
            self.assertIn(words, steps["curve-4"]["reason"])
        references.unlink()
        _, steps = self.check("--only", "curve-4")
        self.assertIn("parallel.device=cpu", self.logs["01-curve-4.log"])

    def test_pytorch_is_left_out_visibly_where_it_is_missing(self):
        _, steps = self.check("--only", "pytorch-128")
        if steps["pytorch-128"]["reason"] == "":
            self.skipTest("PyTorch is here")
        self.assertEqual(steps["pytorch-128"]["verdict"], "not run")
        self.assertIn("PyTorch", steps["pytorch-128"]["reason"])

    def test_several_gpus_are_compared_with_one_and_more_than_there_are_is_left_out(self):
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

    def test_what_does_not_fit_in_the_minutes_is_not_run(self):
        self.gpu_tests(fused_attention_gpu_test="")
        _, steps = self.check("--dry-run", "--minutes", "8")
        reasons = {name: step["reason"] for name, step in steps.items()}
        for name in ("operations", "attention-cudnn-128", "step-1.5b-128k-off", "step-1.5b-128k-on", "curve", "ncu", "memcheck-fused"):
            self.assertRegex(reasons[name], "^only shown", name)
        for name in ("racecheck", "attention-fused-64", "feed-forward"):
            self.assertRegex(reasons[name], r"^no time: about \d+ s are needed, \d+ s are left", name)
        self.assertEqual({step["verdict"] for step in steps.values()}, {"not run"})
        _, none = self.check("--minutes", "0", "--only", "operations")
        self.assertRegex(none["operations"]["reason"], "^no time")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for option in ("program", "library", "guarded", "source"):
        parser.add_argument(f"--{option}")
    OPTIONS, rest = parser.parse_known_args()
    unittest.main(argv=[sys.argv[0], *rest])

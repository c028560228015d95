# SPDX-License-Identifier: Apache-2.0
"""`rondo bench` on CPUs, and on GPUs of the tests whose memory the host cannot touch: the cases run, their results are right,
and what they count is what the formulas say."""
import argparse
import json
import os
import pathlib
import subprocess
import tempfile
import unittest

parser = argparse.ArgumentParser()
parser.add_argument("--program", required=True)
parser.add_argument("--mpiexec", required=True)
parser.add_argument("--source", required=True)
parser.add_argument("--library", required=True)
parser.add_argument("--guarded", required=True)
OPTIONS, REST = parser.parse_known_args()
QUICK = ["--warm-ups", "1", "--runs", "2", "--threads", "1", "--json"]


def bench(ranks, *arguments, libraries=None):
    launcher = [OPTIONS.mpiexec, "-n", str(ranks), "--bind-to", "none"] if ranks else []
    environment = {**os.environ, **({"LD_LIBRARY_PATH": libraries} if libraries else {})}
    return subprocess.run([*launcher, OPTIONS.program, "bench", *arguments], capture_output=True, text=True, timeout=120,
                          env=environment)


class Bench(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # Two installations: the module is looked for beside the library that the program loads.
        cls.temporary = tempfile.TemporaryDirectory()
        for name, module in (("none", None), ("guarded", OPTIONS.guarded)):
            folder = pathlib.Path(cls.temporary.name) / name
            folder.mkdir()
            (folder / "librondo.so").symlink_to(OPTIONS.library)
            if module:
                (folder / "librondo_cuda.so").symlink_to(module)

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def results(self, done):
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return json.loads(done.stdout)["results"]

    def on(self, device, case, *arguments, ranks=0):
        """The results of a case on CPUs, or on GPUs of the tests."""
        return self.results(bench(ranks, case, "--device", device, "--peak-size", "32", *arguments, *QUICK,
                                  libraries=f"{self.temporary.name}/guarded"))

    def test_cases_are_right_on_both_devices(self):
        heads = ("--heads", "4", "--kv-heads", "2")
        cases = (("attention", *heads, "--tokens", "40,100", "--head-dim", "32"),
                 ("attention", *heads, "--tokens", "40", "--head-dim", "16", "--full"),
                 ("split", *heads, "--hops", "3", "--tokens", "21", "--head-dim", "32"),
                 ("split", *heads, "--hops", "2", "--tokens", "20", "--head-dim", "16", "--full"),
                 ("memory", *heads, "--tokens", "40", "--segment-tokens", "12", "--head-dim", "16,30"),
                 ("matmul", "-m", "33,20", "-n", "40,20", "-k", "50,20"),
                 ("feed_forward", "--tokens", "50", "--chunk-tokens", "16", "--d-model", "24", "--d-ff", "40"))
        for case in cases:
            for device in ("cpu", "cuda"):
                results = self.on(device, *case, "--dtype", "fp32,bf16", "--check")
                self.assertEqual(len(results) % 2, 0)
                for result in results:
                    self.assertEqual(result["check"], "right", case)
                    self.assertGreater(result["share_of_peak"], 0)
                    self.assertEqual("launch_ms" in result, device == "cuda", case)

    def test_split_does_the_work_of_one_call(self):
        shape = ("--heads", "2", "--head-dim", "16", "--dtype", "fp32")
        one = self.on("cpu", "attention", "--tokens", "120", *shape)
        cut = self.on("cpu", "split", "--tokens", "40", "--hops", "3", *shape)
        self.assertEqual([r["pass"] for r in cut], ["forward", "backward"])
        self.assertEqual([r["flop"] for r in cut], [r["flop"] for r in one])
        for result in cut:
            self.assertEqual((result["tokens"], result["hops"]), (120, 3))
            self.assertGreater(result["overhead"], -1)

    def test_feed_forward_takes_scratch_by_the_chunk(self):
        def scratch(tokens, chunk, device):
            results = self.on(device, "feed_forward", "--tokens", str(tokens), "--chunk-tokens", str(chunk), "--d-model", "16",
                              "--d-ff", "64", "--dtype", "fp32")
            self.assertEqual([r["flop"] for r in results], [6 * tokens * 16 * 64, 12 * tokens * 16 * 64])
            self.assertEqual(results[0]["scratch_bytes"], results[1]["scratch_bytes"])  # that of both passes
            return results[0]["scratch_bytes"]

        for device in ("cpu", "cuda"):
            self.assertEqual(scratch(64, 32, device), scratch(256, 32, device))
            self.assertLess(scratch(64, 32, device), scratch(64, 64, device))

    def test_ring_moves_as_much_between_gpus(self):
        shape = ("--tokens", "100", "--heads", "4", "--kv-heads", "2", "--head-dim", "16", "--transport", "mpi", "--peak")
        results = {device: self.on(device, "ring", *shape, ranks=2) for device in ("cpu", "cuda")}
        for cpu, cuda in zip(results["cpu"], results["cuda"]):
            for key in ("pass", "sent_bytes", "flop", "hops"):
                self.assertEqual(cpu[key], cuda[key])
            self.assertGreater(cuda["share_of_peak"], 0)

    def test_without_a_gpu_the_device_is_refused(self):
        for case in ("attention", "memory", "split", "matmul", "feed_forward"):
            done = bench(0, case, "--device", "cuda", *QUICK, libraries=f"{self.temporary.name}/none")
            self.assertEqual((done.returncode, done.stdout), (4, ""), done.stderr)
            self.assertIn("no GPU can be used", done.stderr)

    def test_ring_counts_the_bytes_and_the_arithmetic_of_each_pass(self):
        shape = ["--tokens", "600", "--heads", "4", "--kv-heads", "2", "--head-dim", "16"]
        for ranks, layout in ((1, "zigzag"), (2, "zigzag"), (3, "striped")):
            results = self.results(bench(ranks, "ring", *shape, "--layout", layout, *QUICK))
            self.assertEqual([r["pass"] for r in results], ["forward", "backward"])
            share_bytes = 2 * (600 // ranks) * 2 * 16 * 4  # keys and values in fp32
            # Forward, a rank passes on R - 1 shares; backward, their gradients come home too.
            self.assertEqual(results[0]["sent_bytes"], (ranks - 1) * share_bytes)
            self.assertEqual(results[1]["sent_bytes"], 2 * (ranks - 1) * share_bytes)
            pairs = 600 * 601 / 2
            self.assertEqual(results[0]["flop"], 4 * pairs * 4 * 16)
            self.assertEqual(results[1]["flop"], 2.5 * results[0]["flop"])
            for result in results:
                self.assertGreater(result["arithmetic_alone_ms"], 0)
                self.assertGreaterEqual(result["exposed_communication_ms"], 0)
                self.assertLessEqual(result["exposed_communication_ms"], result["slowest_ms"])

    def test_ring_refuses_more_ranks_than_tokens(self):
        done = bench(2, "ring", "--tokens", "1", *QUICK)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn("--tokens", done.stderr)

    def test_step_takes_steps_without_leaving_anything_behind(self):
        with tempfile.TemporaryDirectory() as folder:
            text, corpus = pathlib.Path(folder) / "text.txt", pathlib.Path(folder) / "corpus.h5"
            text.write_text("".join(f"line {i} of a text\n" for i in range(2000)))
            subprocess.run([OPTIONS.program, "prepare", str(text), "--tokenizer", "bytes", "--output", str(corpus)],
                           check=True, capture_output=True)
            results = self.results(bench(2, "step", f"{OPTIONS.source}/configs/tiny.toml", "--set", f"data.corpus={corpus}",
                                         "--set", "data.sequence_length=256", *QUICK))
            self.assertEqual(len(results), 1)
            self.assertEqual((results[0]["ranks"], results[0]["sequence_length"]), (2, 256))
            self.assertAlmostEqual(results[0]["tokens_per_s"], 256e3 / results[0]["median_ms"], delta=1)
            self.assertEqual({path.name for path in pathlib.Path(folder).iterdir()}, {"text.txt", "corpus.h5"})


if __name__ == "__main__":
    unittest.main(argv=["bench_test.py", *REST], verbosity=2)

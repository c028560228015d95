# SPDX-License-Identifier: Apache-2.0
"""`rondo bench` on CPUs, and on mock devices whose memory the host cannot touch: the cases run, their results are right,
and what they count is what the formulas say."""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest
import unittest.mock

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "support"))
from launch_ranks import on_ranks  # noqa: E402

parser = argparse.ArgumentParser()
parser.add_argument("--program", required=True)
parser.add_argument("--mpiexec", required=True)
parser.add_argument("--source", required=True)
parser.add_argument("--library", required=True)
parser.add_argument("--guarded", required=True)
OPTIONS, REST = parser.parse_known_args()
QUICK = ["--warm-ups", "1", "--runs", "2", "--threads", "1", "--json"]


def bench(ranks, *arguments, libraries=None):
    environment = {**os.environ, **({"LD_LIBRARY_PATH": libraries} if libraries else {})}
    return subprocess.run(on_ranks(OPTIONS.mpiexec, ranks, [OPTIONS.program, "bench", *arguments]), capture_output=True, text=True, timeout=600,
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

    def document(self, done):
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return json.loads(done.stdout)

    def results(self, done):
        return self.document(done)["results"]

    def document_on(self, device, case, *arguments, ranks=0):
        """What a case prints on CPUs, or on mock devices."""
        return self.document(bench(ranks, case, "--device", device, "--peak-size", "32", *arguments, *QUICK,
                                   libraries=f"{self.temporary.name}/guarded"))

    def on(self, device, case, *arguments, ranks=0):
        return self.document_on(device, case, *arguments, ranks=ranks)["results"]

    def assert_shares_where_a_peak_is_measured(self, document):
        """Every processor has an fp32 peak; in bf16 some have no product to measure, and then no share is given."""
        peaks = {peak["dtype"]: peak["flops_per_s"] for peak in document["peaks"]}
        self.assertGreater(peaks.get("fp32", 1), 0)
        for result in document["results"]:
            shares = [key for key in result if key.startswith("share_of_peak")]
            if peaks[result["dtype"]] is None:
                self.assertEqual((result["dtype"], shares), ("bf16", []))
            else:
                self.assertIn("share_of_peak", shares)
                self.assertTrue(all(result[key] > 0 for key in shares), result)

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
                document = self.document_on(device, *case, "--dtype", "fp32,bf16", "--check")
                self.assert_shares_where_a_peak_is_measured(document)
                results = document["results"]
                self.assertEqual(len(results) % 2, 0)
                for result in results:
                    self.assertEqual(result["check"], "right", case)
                    self.assertEqual("launch_ms" in result, device == "cuda", case)

    def test_a_processor_without_bf16_products_has_no_bf16_peak(self):
        shape = ("attention", "--tokens", "20", "--head-dim", "16", "--dtype", "bf16")
        with unittest.mock.patch.dict(os.environ, RONDO_MAX_CPU_ISA="portable"):
            document = self.document_on("cpu", *shape)
            text = bench(0, *shape, "--warm-ups", "0", "--runs", "1")
        self.assertEqual(document["backend"], "cpu (portable)")
        self.assertIsNone(document["peaks"][0]["flops_per_s"])
        self.assert_shares_where_a_peak_is_measured(document)
        self.assertEqual(text.returncode, 0, text.stderr)
        self.assertIn("peak bf16: not measured here", text.stdout)
        self.assertNotIn("of peak", text.stdout)

    def test_an_unknown_instruction_set_is_refused(self):
        with unittest.mock.patch.dict(os.environ, RONDO_MAX_CPU_ISA="sse9"):
            done = bench(0, "attention", *QUICK)
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("RONDO_MAX_CPU_ISA", done.stderr)
        self.assertIn("portable, avx2, avx512 or amx", done.stderr)

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
        documents = {device: self.document_on(device, "ring", *shape, ranks=2) for device in ("cpu", "cuda")}
        for document in documents.values():
            self.assert_shares_where_a_peak_is_measured(document)
        for cpu, cuda in zip(documents["cpu"]["results"], documents["cuda"]["results"]):
            for key in ("pass", "sent_bytes", "flop", "hops"):
                self.assertEqual(cpu[key], cuda[key])

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
            shard_bytes = 2 * (600 // ranks) * 2 * 16 * 4  # keys and values in fp32
            # Forward, a rank passes on R - 1 shares; backward, their gradients come home too.
            self.assertEqual(results[0]["sent_bytes"], (ranks - 1) * shard_bytes)
            self.assertEqual(results[1]["sent_bytes"], 2 * (ranks - 1) * shard_bytes)
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

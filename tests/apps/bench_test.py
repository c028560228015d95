# SPDX-License-Identifier: Apache-2.0
"""`rondo bench ring` and `rondo bench step` over real ranks: they run, and what they count is what the formulas say."""
import argparse
import json
import pathlib
import subprocess
import tempfile
import unittest

parser = argparse.ArgumentParser()
parser.add_argument("--program", required=True)
parser.add_argument("--mpiexec", required=True)
parser.add_argument("--source", required=True)
OPTIONS, REST = parser.parse_known_args()
QUICK = ["--warm-ups", "1", "--runs", "2", "--threads", "1", "--json"]


def bench(ranks, *arguments):
    command = [OPTIONS.mpiexec, "-n", str(ranks), "--bind-to", "none", OPTIONS.program, "bench", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


class Bench(unittest.TestCase):
    def results(self, done):
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)["results"]

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

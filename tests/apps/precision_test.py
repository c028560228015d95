# SPDX-License-Identifier: Apache-2.0
"""Training, evaluation and generation on one rank in bf16 and in fp32, whatever the processor: also one without bf16 products."""
import json
import math
import os
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "support"))
from program import ProgramTest, read_options

REST = read_options("program", "mpiexec", "source")
LOG_VOCABULARY = math.log(256)


class Precisions(ProgramTest):
    TEXT = "".join(f"{i} bottles of ale on the wall, {i} bottles of ale; take {i % 7} down.\n" for i in range(400))
    SMALL = ("data.sequence_length=128", "train.steps=30", "evaluate.sequences=2", "parallel.threads=1")

    def losses(self, run):
        lines = [json.loads(line) for line in (self.folder / run / "metrics.jsonl").read_text().splitlines()]
        return [line["loss"] for line in lines if "loss" in line]

    def train_evaluate_generate(self, precision, *settings):
        """@returns the losses of the steps and that of the evaluation"""
        run = f"{precision}-{len(settings)}"
        log = self.rondo(*self.train_line(run, f"precision.compute={precision}", *settings)).stderr
        level = os.environ.get("RONDO_MAX_CPU_ISA")
        if level:
            self.assertIn(f"cpu ({level})", log, "the limit of the instruction set is heeded")
        done = self.rondo("eval", "--checkpoint", run, "--corpus", "corpus.h5", "--json")
        text = self.rondo("generate", "--checkpoint", run, "--prompt", "7 bottles", "--tokens", "20").stdout
        self.assertTrue(text, run)
        return self.losses(run), json.loads(done.stdout)["loss"]

    def expect_alike(self, *settings):
        single, single_loss = self.train_evaluate_generate("fp32", *settings)
        half, half_loss = self.train_evaluate_generate("bf16", *settings)
        self.assertLess(single[-1], single[0] - 1, "it learns")
        # The first loss is that of the same initial values: products of bf16 operands round it by less than a percent.
        self.assertAlmostEqual(half[0], single[0], delta=0.01 * LOG_VOCABULARY)
        # Later the paths part; both have learned the same text.
        self.assertLess(half[-1], half[0] - 1)
        self.assertAlmostEqual(half_loss, single_loss, delta=0.1 * LOG_VOCABULARY)

    def test_exact_attention(self):
        self.expect_alike()

    def test_infini_attention(self):
        self.expect_alike("model.attention=infini", "model.segment_tokens=16")


if __name__ == "__main__":
    unittest.main(argv=["precision_test.py", *REST], verbosity=2)

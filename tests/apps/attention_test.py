#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`mpirun -n R rondo attention` against the dense program tests/oracle/attention.py: outputs and gradients in fp64 within
1e-12 for every rank count, layout and mask, fp32 and bf16 under the tolerance rule, and the errors of wrong inputs.

    tests/apps/attention_test.py --program build/release/bin/rondo [--all]

Without --all every case meets every rank count and every layout, but not every pair of them.
"""
import argparse
import importlib.util
import itertools
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

import h5py
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "support"))
from launch_ranks import on_ranks  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
RANKS = [1, 2, 3, 4, 5, 8]
LAYOUTS = ["contiguous", "zigzag", "striped", "block_cyclic"]
OPTIONS = argparse.Namespace(program="", mpiexec="mpirun", all=False)
OUTPUTS = ["out", "lse", "d_q", "d_k", "d_v"]


def load_oracle():
    spec = importlib.util.spec_from_file_location("oracle", os.path.join(HERE, "..", "oracle", "attention.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ORACLE = load_oracle()


class Case:
    """A mask and sizes that divide by nothing. The second sequence has large logits, the third none to speak of."""

    def __init__(self, name, tokens, heads, kv_heads, dim, causal=False, window=0, documents=None):
        self.name, self.causal, self.window, self.documents = name, causal, window, documents
        random = np.random.default_rng([tokens, heads, dim, window])
        draw = lambda count: random.standard_normal((3, tokens, count, dim))
        self.tensors = {"q": draw(heads), "k": draw(kv_heads), "v": draw(kv_heads), "d_out": draw(heads)}
        self.tensors["q"] *= np.array([1.0, 6.0, 1e-3])[:, None, None, None]

    def flags(self):
        return ((["--causal"] if self.causal else []) + (["--window", str(self.window)] if self.window else []) +
                (["--documents"] if self.documents else []))

    def write(self, path):
        with h5py.File(path, "w") as file:
            for name, value in self.tensors.items():
                file[name] = value
            if self.documents:
                file["document_offsets"] = np.array(self.documents, dtype=np.int64)

    def expected(self, dtype=np.float64):
        t = {name: value.astype(dtype).astype(np.float64) for name, value in self.tensors.items()}
        tokens, dim = t["q"].shape[1], t["q"].shape[3]
        seen = ORACLE.visible(tokens, self.causal, self.window, self.documents)
        parts = [ORACLE.attention(t["q"][b], t["k"][b], t["v"][b], t["d_out"][b], seen, 1 / np.sqrt(dim))
                 for b in range(t["q"].shape[0])]
        return {name: np.stack([part[name] for part in parts]) for name in OUTPUTS}


CASES = [
    Case("full, 1:1", 61, 2, 2, 8),
    Case("causal, 1:1", 131, 3, 3, 5, causal=True),
    Case("causal, 4:1", 67, 8, 2, 6, causal=True),
    Case("causal, 8:1", 53, 8, 1, 7, causal=True),
    Case("full, documents, 8:1", 97, 8, 1, 4, documents=[0, 1, 40, 41, 97]),
    Case("causal, documents, 4:1", 101, 4, 1, 8, causal=True, documents=[0, 33, 33, 34, 90, 101]),
    Case("window, 1:1", 113, 2, 2, 6, causal=True, window=19),
    Case("window, documents, 8:1", 89, 16, 2, 3, causal=True, window=7, documents=[0, 44, 60, 89]),
    Case("one token per rank", 8, 4, 1, 2, causal=True),
]


def run(ranks, *arguments):
    command = on_ranks(OPTIONS.mpiexec, ranks, [OPTIONS.program, "attention", *arguments])
    return subprocess.run(command, env=dict(os.environ, OMP_NUM_THREADS="1"), timeout=600,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)


class Attention(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory(prefix="rondo-attention-")
        self.addCleanup(holder.cleanup)
        self.input, self.output = (os.path.join(holder.name, name) for name in ("in.h5", "out.h5"))

    def compute(self, ranks, *arguments):
        done = run(ranks, "--input", self.input, "--output", self.output, *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        with h5py.File(self.output) as file:
            return {name: file[name][...] for name in file}

    def refused(self, ranks, code, message, *arguments):
        done = run(ranks, "--input", self.input, "--output", self.output, *arguments)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertIn(message, done.stderr)
        self.assertEqual(done.stderr.count(message), 1, "one rank speaks for all")
        self.assertFalse(os.path.exists(self.output))

    def write_changed(self, **changes):
        """The second case with some datasets replaced, or left out where None."""
        CASES[2].write(self.input)
        with h5py.File(self.input, "r+") as file:
            for name, value in changes.items():
                if name in file:
                    del file[name]
                if value is not None:
                    file[name] = value


class Exactness(Attention):
    def test_fp64_equals_the_dense_program(self):
        starts, worst = 0, 0.0
        for number, case in enumerate(CASES):
            case.write(self.input)
            expected = case.expected()
            for turn, (ranks, layout) in enumerate(itertools.product(RANKS, LAYOUTS)):
                # of the layouts each rank count takes the one whose turn it is, another one for each case
                if not OPTIONS.all and (turn // len(LAYOUTS) + number) % len(LAYOUTS) != turn % len(LAYOUTS):
                    continue
                found = self.compute(ranks, "--dtype", "fp64", "--backward", "--layout", layout, *case.flags())
                starts += 1
                for name in OUTPUTS:
                    with self.subTest(case=case.name, ranks=ranks, layout=layout, output=name):
                        self.assertEqual(found[name].dtype, np.float64)
                        error = np.abs(found[name] - expected[name]).max()
                        worst = max(worst, error)
                        self.assertLessEqual(error, 1e-12)
        print(f"fp64: {starts} runs, largest difference from the dense program {worst:.1e}")

    def test_fp32_and_bf16_follow_the_tolerance_rule(self):
        case = CASES[2]
        # numbers that every type has, so that all versions see the same input
        case.tensors = {n: (v.astype(np.float32).view(np.uint32) & 0xFFFF0000).view(np.float32)
                        for n, v in case.tensors.items()}
        case.write(self.input)
        expected = case.expected()
        for dtype, roundoff in (("fp32", 2.0**-24), ("bf16", 2.0**-8)):
            flags = ["--dtype", dtype, "--backward", *case.flags()]
            fast, plain = self.compute(2, *flags), self.compute(2, "--device", "reference", *flags)
            for name in OUTPUTS:
                with self.subTest(dtype=dtype, output=name):
                    self.assertEqual(fast[name].dtype, np.float32)
                    error, allowed = (np.sqrt(((x[name] - expected[name])**2).mean()) for x in (fast, plain))
                    self.assertLessEqual(error, 2 * allowed + roundoff * np.sqrt((expected[name]**2).mean()))


class Behaviour(Attention):
    def test_float16_is_read_exactly(self):
        half = {name: value.astype(np.float16) for name, value in CASES[2].tensors.items()}
        half["q"][0, :5, 0, 0] = [2.0**-24, -2.0**-24, 2.0**-14, 65504, -0.0]  # subnormal, smallest normal, largest
        self.write_changed(**half)
        found = self.compute(2, "--dtype", "fp64", "--causal", "--backward")
        self.write_changed(**{name: value.astype(np.float32) for name, value in half.items()})
        same = self.compute(2, "--dtype", "fp64", "--causal", "--backward")
        for name in OUTPUTS:
            self.assertTrue(np.array_equal(found[name], same[name]), name)

    def test_types_that_are_not_read_are_named(self):
        self.write_changed(q=np.zeros((3, 67, 8, 6), dtype=">f4"))
        self.refused(2, 3, "does not read big-endian floating-point numbers of 4 bytes")
        self.write_changed(q=np.zeros((3, 67, 8, 6), dtype=np.complex64))
        self.refused(1, 3, "it reads little-endian float16, float32, float64")

    def test_nan_reaches_only_the_rows_that_see_it(self):
        k = CASES[2].tensors["k"].copy()
        k[0, 40] = np.nan
        self.write_changed(k=k)
        found = self.compute(3, "--dtype", "fp64", "--causal")
        self.assertTrue(np.isnan(found["out"][0, 40:]).all())
        self.assertFalse(np.isnan(found["out"][0, :40]).any())
        self.assertFalse(np.isnan(found["out"][1:]).any())
        self.assertEqual(sorted(found), ["lse", "out"])

    def test_json_is_one_document(self):
        CASES[2].write(self.input)
        done = run(2, "--input", self.input, "--output", self.output, "--causal", "--json")
        figures = json.loads(done.stdout)
        self.assertEqual((figures["ranks"], figures["tokens"], figures["layout"]), (2, 67, "zigzag"))
        self.assertGreater(figures["sent_bytes"], 0)

    def test_results_do_not_replace_the_old_ones_before_they_are_whole(self):
        self.write_changed()
        first = self.compute(2, "--dtype", "fp64")
        again = self.compute(2, "--dtype", "fp64")
        self.assertTrue(np.array_equal(first["out"], again["out"]))
        self.assertFalse(os.path.exists(self.output + ".partial"))

    def test_missing_and_wrong_datasets_are_refused(self):
        self.write_changed(k=None)
        self.refused(2, 3, "there is no dataset 'k'")
        self.write_changed(v=np.zeros((3, 67, 2, 5)))
        self.refused(1, 3, "its shape is [3, 67, 2, 5], but the shape of k is [3, 67, 2, 6]")
        self.write_changed(q=np.zeros((67, 8, 6)))
        self.refused(1, 3, "which is not of four dimensions")
        self.write_changed(k=np.zeros((3, 67, 3, 6)), v=np.zeros((3, 67, 3, 6)))
        self.refused(1, 3, "the 8 heads of q are not a multiple of the 3 heads of k")
        self.write_changed(d_out=None)
        self.refused(1, 3, "there is no dataset 'd_out'", "--backward")
        self.write_changed(q=np.zeros((3, 67, 8, 6), dtype=np.int32))
        self.refused(1, 3, "its element type is int32")

    def test_wrong_document_offsets_are_refused(self):
        self.write_changed()
        self.refused(1, 3, "there is no dataset 'document_offsets'", "--documents")
        for offsets, message in (([0, 40, 30, 67], "offset 2 is 30 after 40"), ([0, 66], "the last one S = 67")):
            self.write_changed(document_offsets=np.array(offsets, dtype=np.int64))
            self.refused(1, 3, message, "--documents")

    def test_wrong_usage_is_refused(self):
        CASES[8].write(self.input)
        self.refused(9, 2, "8 tokens cannot be spread over 9 ranks")
        self.refused(1, 2, "fp64 runs on the reference backend only", "--dtype", "fp64", "--device", "cpu")
        self.refused(1, 2, "diagonal", "--layout", "diagonal")
        missing = os.path.join(os.path.dirname(self.input), "nowhere", "out.h5")
        done = run(2, "--input", self.input, "--output", missing)
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertIn("the folder does not exist", done.stderr)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--mpiexec", default="mpirun")
    parser.add_argument("--all", action="store_true", help="every case on every rank count with every layout")
    OPTIONS, rest = parser.parse_known_args()
    OPTIONS.program = os.path.abspath(OPTIONS.program)
    unittest.main(argv=[sys.argv[0], *rest])

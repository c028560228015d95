# SPDX-License-Identifier: Apache-2.0
"""`rondo eval` and `rondo generate` as a user calls them, on a model that `rondo train` has just made.

usage: commands_test.py RONDO MPIEXEC CONFIG
"""
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

RONDO, MPIEXEC, CONFIG = sys.argv[1:4]
TEXT = "".join(f"{i} bottles of ale on the wall, {i} bottles of ale; take {i % 7} down.\n" for i in range(900))


def run(*arguments, ranks=0, code=0):
    done = subprocess.run(on_ranks(MPIEXEC, ranks, [RONDO, *arguments]), capture_output=True, timeout=600, check=False)
    if done.returncode != code:
        raise AssertionError(f"{arguments} ended with {done.returncode}, not {code}:\n{done.stderr.decode()}")
    return done


class Commands(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        with open(cls.path("text.txt"), "w", encoding="ascii") as file:
            file.write(TEXT)
        run("prepare", cls.path("text.txt"), "--output", cls.path("corpus.h5"), "--tokenizer", "bytes",
            "--validation", "0.1")
        overrides = ["data.corpus=" + cls.path("corpus.h5"), "data.sequence_length=128", "model.d_model=32",
                     "train.steps=30", "precision.compute=fp32", "evaluate.sequences=0"]
        memory = ["model.attention=infini", "model.segment_tokens=16", "memory.span_tokens=64"]
        for name, own in (("run", []), ("memory", memory)):
            run("train", CONFIG, "--run", cls.path(name), *[word for o in overrides + own for word in ("--set", o)], ranks=2)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    @classmethod
    def path(cls, name):
        return os.path.join(cls.folder.name, name)

    def evaluate(self, *arguments, ranks=0):
        done = run("eval", "--checkpoint", self.path("run"), "--corpus", self.path("corpus.h5"), "--json", *arguments,
                   ranks=ranks)
        return json.loads(done.stdout)

    def generate(self, *arguments):
        return run("generate", "--checkpoint", self.path("run"), "--prompt", "7 bottles", "--tokens", "40", *arguments)

    def test_eval_gives_the_loss_of_the_run_on_any_number_of_ranks(self):
        alone = self.evaluate()
        with open(self.path("run/metrics.jsonl"), encoding="utf-8") as file:
            in_training = [r["validation_loss"] for r in map(json.loads, file) if "validation_loss" in r][-1]
        self.assertAlmostEqual(alone["loss"], in_training, delta=1e-4)  # fp32 on 2 ranks against 1
        self.assertLess(alone["loss"], np.log(256) - 1)
        self.assertAlmostEqual(alone["bits_per_byte"], alone["loss"] / np.log(2), places=12)
        self.assertAlmostEqual(alone["perplexity"], np.exp(alone["loss"]), places=9)
        for ranks, more in (2, []), (3, []), (4, ["--ring", "2", "--layout", "striped"]):
            shared = self.evaluate(*more, ranks=ranks)
            self.assertEqual(shared["targets"], alone["targets"])
            self.assertAlmostEqual(shared["loss"], alone["loss"], delta=1e-4)

    def test_eval_writes_the_log_probability_of_every_token(self):
        result = self.evaluate("--per-token", self.path("tokens.h5"), ranks=2)
        with h5py.File(self.path("tokens.h5"), "r") as file:
            values = file["log_probability"][:]
            offsets = file["document_offsets"][:]
        with h5py.File(self.path("corpus.h5"), "r") as file:
            np.testing.assert_array_equal(offsets, file["validation/documents"][:])
            self.assertEqual(len(values), len(file["validation/tokens"]))
        defined = np.isfinite(values)
        np.testing.assert_array_equal(np.flatnonzero(~defined), offsets[:-1])
        self.assertEqual(defined.sum(), result["targets"])
        self.assertAlmostEqual(-values[defined].astype(np.float64).mean(), result["loss"], delta=1e-6)  # float32

    def test_eval_takes_every_name_of_a_checkpoint(self):
        losses = {self.evaluate("--sequences", "3")["loss"]}
        for name in "run/checkpoints", "run/checkpoints/step-30":
            done = run("eval", "--checkpoint", self.path(name), "--corpus", self.path("corpus.h5"), "--json",
                       "--sequences", "3")
            losses.add(json.loads(done.stdout)["loss"])
        self.assertEqual(len(losses), 1)

    def test_eval_refuses_a_corpus_of_another_tokenizer(self):
        with open(self.path("genome.fa"), "w", encoding="ascii") as file:
            file.write(">one\n" + "ACGTTGCA" * 100 + "\n")
        run("prepare", self.path("genome.fa"), "--output", self.path("genome.h5"), "--tokenizer", "dna",
            "--validation", "0.2")
        for ranks in 0, 2:
            done = run("eval", "--checkpoint", self.path("run"), "--corpus", self.path("genome.h5"), ranks=ranks, code=3)
            for word in b"bytes", b"dna", b"genome.h5":
                self.assertIn(word, done.stderr)

    def test_eval_refuses_what_is_not_there(self):
        run("eval", "--checkpoint", self.path("nowhere"), "--corpus", self.path("corpus.h5"), ranks=2, code=3)
        run("eval", "--checkpoint", self.path("run"), "--corpus", self.path("nowhere.h5"), ranks=2, code=3)
        run("eval", "--checkpoint", self.path("run"), "--corpus", self.path("corpus.h5"), "--split", "test", code=2)

    def test_eval_prints_text_for_readers(self):
        done = run("eval", "--checkpoint", self.path("run"), "--corpus", self.path("corpus.h5"), "--sequences", "2")
        for word in b"loss", b"perplexity", b"bits per byte", b"position":
            self.assertIn(word, done.stdout)

    def test_generate_repeats_itself_with_the_same_seed(self):
        first, again, other = (self.generate("--seed", seed).stdout for seed in ("1", "1", "2"))
        self.assertEqual(first, again)
        self.assertNotEqual(first, other)
        self.assertEqual(len(first), 40 + 1)  # a byte a token, and the end of the line

    def test_generate_reads_its_prompt_from_a_file(self):
        with open(self.path("prompt.txt"), "w", encoding="ascii") as file:
            file.write("7 bottles")
        from_file = run("generate", "--checkpoint", self.path("run"), "--prompt-file", self.path("prompt.txt"),
                        "--tokens", "40").stdout
        self.assertEqual(from_file, self.generate().stdout)

    def test_generate_gives_one_document(self):
        document = json.loads(self.generate("--json", "--temperature", "0").stdout)
        self.assertEqual(document["prompt"], "7 bottles")
        self.assertEqual(bytes(document["tokens"]).decode("latin-1"), document["text"])
        self.assertEqual(len(document["tokens"]), 40)
        self.assertGreater(document["tokens_per_second"], 0)
        plain = self.generate("--temperature", "0").stdout.decode()
        self.assertEqual(plain, document["text"] + "\n")

    def test_generate_goes_on_from_a_state(self):
        with open(self.path("long.txt"), "w", encoding="ascii") as file:
            file.write(TEXT[:700])
        start = ["generate", "--checkpoint", self.path("memory"), "--json", "--tokens"]
        whole = json.loads(run(*start, "40", "--prompt-file", self.path("long.txt"), ranks=3).stdout)["tokens"]
        state = self.path("state.h5")
        first = json.loads(run(*start, "15", "--prompt-file", self.path("long.txt"), "--state-out", state).stdout)
        second = json.loads(run(*start, "25", "--state-in", state).stdout)
        self.assertEqual(first["tokens"] + second["tokens"], whole)
        again = json.loads(run(*start, "25", "--state-in", state, ranks=2).stdout)
        self.assertEqual(again["tokens"], second["tokens"])
        run("generate", "--checkpoint", self.path("run"), "--state-in", state, code=3)  # of another model
        run("generate", "--checkpoint", self.path("memory"), "--state-in", self.path("corpus.h5"), code=3)
        with h5py.File(state, "r+") as file:
            file.attrs["format_version"] = 99
        refused = run("generate", "--checkpoint", self.path("memory"), "--state-in", state, code=3)
        self.assertIn("the state has format version 99, but this program reads 1", refused.stderr.decode())

    def test_generate_refuses_wrong_use(self):
        checkpoint = ["generate", "--checkpoint", self.path("run")]
        run(*checkpoint, "--prompt", "a", ranks=2, code=2)
        run(*checkpoint, "--prompt", "", code=2)
        run(*checkpoint, code=2)
        run(*checkpoint, "--prompt", "a", "--prompt-file", "b", code=2)
        run(*checkpoint, "--prompt", "a", "--top-p", "0", code=2)
        run(*checkpoint, "--prompt", "a", "--temperature", "-1", code=2)
        run(*checkpoint, "--prompt-file", self.path("nowhere"), code=3)
        run("generate", "--checkpoint", self.path("nowhere"), "--prompt", "a", code=3)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])

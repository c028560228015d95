# SPDX-License-Identifier: Apache-2.0
"""`rondo train` with several configurations: stages, each from the weights of the one before, in one run that goes on."""
import json
import pathlib
import sys
import unittest

import h5py
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "support"))
from program import ProgramTest, read_options

STAGE = """
[model]
layers = 1
d_model = 32
heads = 2
attention = "infini"
segment_tokens = 16
[data]
corpus = "corpus.h5"
sequence_length = {tokens}
[train]
steps = 3
warmup_steps = 0
learning_rate = {rate}
gate_learning_rate = {rate}
[evaluate]
sequences = 1
[log]
every_steps = 1
"""


class Stages(ProgramTest):
    TEXT = "a text of several words, again and again\n" * 200

    def setUp(self):
        (self.folder / "short.toml").write_text(STAGE.format(tokens=32, rate=1e-3))
        (self.folder / "long.toml").write_text(STAGE.format(tokens=128, rate=1e-30))

    def train(self, run, *arguments, code=0, ranks=2):
        return self.rondo("train", "short.toml", "long.toml", "--run", run, *arguments, ranks=ranks, code=code)

    def weights(self, stage):
        newest = sorted((self.folder / stage / "checkpoints").glob("step-*"))[-1]
        with h5py.File(newest / "state.h5", "r") as file:
            return {name: data[:] for name, data in file["parameters"].items() if isinstance(data, h5py.Dataset)}

    def steps(self, stage):
        lines = (self.folder / stage / "metrics.jsonl").read_text().splitlines()
        return [record["step"] for record in map(json.loads, lines) if "loss" in record]

    def test_a_stage_begins_with_the_weights_of_the_one_before(self):
        done = self.train("run")
        self.assertIn("starting with the weights of run/1-short/checkpoints/step-3", done.stderr)
        self.assertEqual((self.steps("run/1-short"), self.steps("run/2-long")), ([1, 2, 3], [1, 2, 3]))
        before, after = self.weights("run/1-short"), self.weights("run/2-long")
        self.assertTrue(before)
        for name, values in before.items():  # a learning rate of next to nothing
            np.testing.assert_allclose(after[name], values, atol=1e-12)

    def test_the_same_line_goes_on_in_the_stage_that_was_stopped(self):
        stopped = self.train("halves", "--time-limit", "0.001s", code=75)
        self.assertIn("stopping early", stopped.stderr)
        self.assertFalse((self.folder / "halves/2-long").exists())
        self.train("halves")
        self.assertEqual((self.steps("halves/1-short"), self.steps("halves/2-long")), ([1, 2, 3], [1, 2, 3]))
        self.train("halves")  # all has been done
        self.assertEqual((self.steps("halves/1-short"), self.steps("halves/2-long")), ([1, 2, 3], [1, 2, 3]))

    def test_a_run_of_stages_stands_for_its_last_one(self):
        def answering(folder):
            evaluated = json.loads(self.rondo("eval", "--checkpoint", folder, "--corpus", "corpus.h5", "--json").stdout)
            listed = json.loads(self.rondo("checkpoint", "info", folder, "--json").stdout)
            return evaluated["checkpoint"], listed

        self.train("staged", "--time-limit", "0.001s", code=75)
        self.assertEqual(answering("staged"), answering("staged/1-short"))
        self.train("staged")
        self.assertEqual(answering("staged"), answering("staged/2-long"))
        (self.folder / "staged/3-begun/checkpoints").mkdir(parents=True)
        (self.folder / "staged/4-notes.txt").write_text("a file of the user's\n")
        self.assertEqual(answering("staged/"), answering("staged/2-long"))

    def test_what_is_wrong_with_a_later_stage_is_found_before_the_first_one_trains(self):
        (self.folder / "long.toml").write_text(STAGE.format(tokens=128, rate=1e-3).replace("d_model = 32", "d_model = 64"))
        refused = self.train("other", code=2)
        self.assertIn("long.toml: the model of the stage before it, short.toml, is another:\n  model.d_model: 32 there, 64 here",
                      refused.stderr)
        self.assertEqual(json.loads((self.folder / "other/1-short/exit.json").read_text())["exit_code"], 2)
        self.assertFalse((self.folder / "other/1-short/metrics.jsonl").exists())
        self.assertFalse((self.folder / "other/2-long").exists())
        (self.folder / "long.toml").write_text(STAGE.format(tokens=10**9, rate=1e-3))
        self.assertIn("sequence_length = 1000000000", self.train("other", code=3).stderr)
        self.assertFalse((self.folder / "other/1-short/metrics.jsonl").exists())


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *read_options("program", "mpiexec", "source")])

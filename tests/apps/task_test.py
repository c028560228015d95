# SPDX-License-Identifier: Apache-2.0
"""`rondo prepare --task` as a user calls it: real corpora of every task, looked into by other programs, and what it refuses."""
import json
import pathlib
import sys
import unittest

import h5py
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "support"))
from program import OPTIONS, ProgramTest, read_options, with_settings


class Tasks(ProgramTest):
    TEXT = "a text\n" * 50

    def prepare(self, task, *arguments, code=0, output="task.h5"):
        return self.rondo("prepare", "--task", task, "--output", output, *arguments, code=code)

    def test_every_task_makes_a_corpus_of_whole_samples(self):
        for task in "passkey", "passkey_text", "recall", "rewrite":
            made = json.loads(self.prepare(task, "--samples", "30", "--validation-samples", "4", "--tokens", "700",
                                           "--outside-window", "128", "--json").stdout)
            self.assertEqual(made["task"]["task"], task)
            self.assertEqual(made["train"]["tokens"], 30 * 700)
            info = json.loads(self.rondo("corpus", "info", "task.h5", "--json").stdout)
            self.assertEqual(info["task"], made["task"])
            for part, samples in ("train", 30), ("validation", 4):
                self.assertEqual((info[part]["shortest_document"], info[part]["longest_document"]), (700, 700))
                self.assertEqual(info[part]["documents"], samples)
                self.assertEqual(info[part]["targets"], made[part]["targets"])
                self.assertGreater(info[part]["targets"], 0)
            self.rondo("corpus", "verify", "task.h5")
            self.assertIn("of them are targets", self.rondo("corpus", "info", "task.h5").stdout)

    def test_targets_repeat_what_was_said_outside_the_window(self):
        self.prepare("recall", "--samples", "20", "--tokens", "300", "--pairs", "6", "--queries", "4", "--keys", "9",
                     "--values", "5", "--filler-ids", "7", "--outside-window", "50")
        with h5py.File(self.folder / "task.h5", "r") as file:
            tokens = file["train/tokens"][:].astype(int)
            ranges = file["train/target_ranges"][:].reshape(-1, 2)
            self.assertEqual(file.attrs["format_version"], 2)
            self.assertEqual(file.attrs["vocabulary_size"], 7 + 9 + 5)
        targets = np.concatenate([np.arange(first, end) for first, end in ranges])
        self.assertEqual(len(targets), 20 * 4)
        for target in targets:
            document = tokens[target // 300 * 300:(target // 300 + 1) * 300]
            place = target % 300
            key, value = document[place - 1], document[place]
            self.assertTrue(7 <= key < 16 <= value < 21)
            said = np.flatnonzero(document[:-1] == key)[0]
            self.assertEqual(document[said + 1], value)
            self.assertGreaterEqual(300 - 2 * 4 - (said + 1), 50)

    def test_the_published_text_is_readable(self):
        self.prepare("passkey_text", "--samples", "1", "--tokens", "1000")
        sample = json.loads(self.rondo("corpus", "sample", "task.h5", "--document", "0", "--tokens", "1000", "--json").stdout)
        text = sample["text"]
        key = text.split("The pass key is ")[1].split(".")[0]
        self.assertTrue(text.startswith("There is an important info hidden inside a lot of irrelevant text. "))
        self.assertTrue(text.endswith(f"\nWhat is the pass key? The pass key is {key}."))
        self.assertEqual("".join(text[i] for i in sample["targets"]), key + ".")

    def test_the_same_line_makes_the_same_corpus_and_another_seed_another(self):
        digests = []
        for seed in "1", "1", "2":
            self.prepare("rewrite", "--samples", "5", "--validation-samples", "5", "--tokens", "200", "--seed", seed)
            info = json.loads(self.rondo("corpus", "info", "task.h5", "--json").stdout)
            digests.append((info["train"]["tokens_digest"], info["validation"]["tokens_digest"]))
        self.assertEqual(digests[0], digests[1])
        self.assertEqual(len({digest for pair in digests for digest in pair}), 4)

    def test_shorter_samples_share_the_place_of_a_long_one(self):
        line = ["recall", "--samples", "40", "--validation-samples", "8", "--tokens", "256", "--shortest", "64"]
        made = json.loads(self.prepare(*line, "--json").stdout)
        self.assertEqual(made["task"]["shortest_tokens"], 64)
        self.assertEqual((made["train"]["tokens"], made["validation"]["tokens"]), (40 * 256, 8 * 256))
        info = json.loads(self.rondo("corpus", "info", "task.h5", "--json").stdout)
        self.assertEqual((info["train"]["shortest_document"], info["train"]["longest_document"]), (64, 256))
        self.assertEqual(info["train"]["documents"], made["train"]["documents"])
        said = self.prepare(*line).stdout
        self.assertIn("samples of 64 to 256 tokens", said)
        self.assertIn("data.sequence_length = 256", said)

    def test_bad_requests_name_option_rule_and_fix(self):
        requests = [(["copy"], "--task", "known tasks: passkey, passkey_text, recall, rewrite"),
                    (["recall", "--tokens", "31"], "--tokens", "set --tokens to 32 or more"),
                    (["passkey_text", "--tokens", "100"], "--tokens", "set --tokens to"),
                    (["passkey", "--tokens", "100", "--outside-window", "90"], "--outside-window", "set it to at most 89"),
                    (["recall", "--tokens", "96", "--shortest", "36"], "--shortest", "as in --shortest 4096 --tokens 32768"),
                    (["recall", "--tokens", "64", "--shortest", "16"], "--shortest", "set --shortest to 32 or more"),
                    (["recall", "--shortest", "0"], "--shortest", "not in range 1 to 1099511627776"),
                    (["recall", "--digits", "3"], "--digits", "it goes with: passkey"),
                    (["passkey", "--writes", "1", "2"], "--writes", "it goes with: rewrite"),
                    (["recall", "--pairs", "65"], "--pairs", "set --keys to 65 or more"),
                    (["recall", "--depth", "0.5", "0.1"], "--depth", "as in --depth 0 0.5")]
        for words, option, fix in requests:
            said = self.prepare(*words, "--samples", "3", code=2, output="bad.h5").stderr
            self.assertIn(option, said)
            self.assertIn(fix, said)
        for words in (["recall"], ["recall", "--samples", "0"], ["recall", "--samples", "3", "--validation-samples", "-1"]):
            self.assertIn("samples", self.prepare(*words, code=2, output="bad.h5").stderr)
        for words in (["recall", "text.txt"], ["recall", "--tokenizer", "bytes"], ["recall", "--validation", "0.1"]):
            self.assertIn("excludes", self.prepare(*words, "--samples", "3", code=2, output="bad.h5").stderr)
        self.assertIn("--task", self.rondo("prepare", "text.txt", "--output", "bad.h5", code=2).stderr)
        self.assertIn("--task", self.rondo("prepare", "--samples", "3", "--output", "bad.h5", code=2).stderr)
        self.assertEqual(list(self.folder.glob("bad*")), [])

    def test_training_takes_whole_samples_and_asks_for_answers_only(self):
        self.prepare("recall", "--samples", "12", "--validation-samples", "2", "--tokens", "64", "--keys", "8", "--values", "4",
                     "--filler-ids", "4", "--pairs", "4", output="recall.h5")
        settings = ("data.corpus=recall.h5", "data.sequence_length=64", "data.whole_documents=true", "model.d_model=32",
                    "train.steps=3", "train.warmup_steps=0", "parallel.threads=1", "precision.compute=fp32")
        line = ["train", f"{OPTIONS.source}/configs/tiny.toml"]
        self.rondo(*line, "--run", "recall", *with_settings(*settings))
        records = [json.loads(text) for text in (self.folder / "recall/metrics.jsonl").read_text().splitlines()]
        self.assertEqual(sum("loss" in record for record in records), 3)
        evaluated = json.loads(self.rondo("eval", "--checkpoint", "recall", "--corpus", "recall.h5", "--json").stdout)
        self.assertEqual(evaluated["targets"], 2 * 4)
        said = self.rondo(*line, "--run", "cut", *with_settings(*settings, "data.sequence_length=96"), code=3).stderr
        self.assertIn("document 1, recall sample 1, of 64 tokens from 64 on, is cut by sequences of 96 tokens", said)
        self.assertIn("data.whole_documents to false", said)
        check = ["check", line[1], "--ranks", "1", *with_settings(*settings, "data.sequence_length=96")]
        self.assertIn("is cut by sequences of 96 tokens", self.rondo(*check, code=3).stderr)

    def test_eval_asks_fresh_samples_and_counts_compressions(self):
        ids = ["--keys", "8", "--values", "4", "--filler-ids", "4", "--pairs", "4"]
        self.prepare("recall", "--samples", "12", "--tokens", "64", *ids, output="memory.h5")
        settings = ("data.corpus=memory.h5", "data.sequence_length=64", "data.whole_documents=true", "model.d_model=32",
                    "model.attention=infini", "model.segment_tokens=8", "train.steps=2", "train.warmup_steps=0",
                    "parallel.threads=1", "precision.compute=fp32")
        self.rondo("train", f"{OPTIONS.source}/configs/tiny.toml", "--run", "memory", *with_settings(*settings))
        ask = ["eval", "--checkpoint", "memory", "--task", "recall", *ids, "--samples", "9", "--outside-window", "8",
               "--threads", "1"]
        alone = json.loads(self.rondo(*ask, "--json").stdout)
        self.assertEqual(alone["task"]["tokens"], 64)  # as the model was trained
        for score in (alone[name] for name in ("model", "memory_off", "memory_knocked_out")):
            self.assertEqual(score["exact"]["all"], 9 * 4)
            self.assertLessEqual(score["exact"]["low"], score["exact"]["share"])
            self.assertEqual(score["wrong"]["all"], score["exact"]["all"] - score["exact"]["right"])
            buckets = score["by_compressions"]
            self.assertEqual(sum(bucket["exact"]["all"] for bucket in buckets), 9 * 4)
            self.assertGreater(buckets[0]["first"], 0)  # outside the window of one segment
            self.assertLessEqual(buckets[-1]["first"], 7)
        self.assertEqual(alone["answers_in_reach_of_local_attention"], 0)
        self.assertEqual(alone["chance"]["exact"], 0.25)
        shared = json.loads(self.rondo(*ask, "--json", ranks=2).stdout)
        for name in "model", "memory_off", "memory_knocked_out":
            self.assertEqual(shared[name], alone[name])
        self.assertNotEqual(json.loads(self.rondo(*ask, "--json", "--seed", "1").stdout)["model"], alone["model"])
        longer = self.rondo(*ask, "--tokens", "512").stdout
        for words in "9 fresh samples of 512 tokens", "memory knocked out", "chance", "compressions", "32 .. 63", "another key's":
            self.assertIn(words, longer)

        other_ids = [word if word != "4" else "5" for word in ask]
        self.assertIn("rondo corpus info", self.rondo(*other_ids, code=2).stderr)
        text_task = ["eval", "--checkpoint", "memory", "--task", "passkey_text", "--tokens", "600"]
        self.assertIn("tokenizer bytes", self.rondo(*text_task, code=2).stderr)
        self.assertIn("excludes", self.rondo(*ask, "--corpus", "memory.h5", code=2).stderr)
        self.assertIn("--task", self.rondo("eval", "--checkpoint", "memory", "--samples", "9", code=2).stderr)
        self.assertIn("--corpus or a --task", self.rondo("eval", "--checkpoint", "memory", code=2).stderr)

    def test_eval_turns_the_memory_off(self):
        ids = ["--keys", "8", "--values", "4", "--filler-ids", "4", "--pairs", "4"]
        self.prepare("recall", "--samples", "400", "--tokens", "64", *ids, output="gates.h5")
        scores = {}
        for gate in "20", "-10000":  # all memory and, where there is none, local attention; local attention alone
            settings = ("data.corpus=gates.h5", "data.sequence_length=512", "data.whole_documents=true", "model.d_model=32",
                        "model.attention=infini", "model.segment_tokens=8", f"model.memory_gate={gate}", "train.steps=30",
                        "train.warmup_steps=0", "parallel.threads=1", "precision.compute=fp32")
            self.rondo("train", f"{OPTIONS.source}/configs/tiny.toml", "--run", "gate" + gate, *with_settings(*settings))
            scores[gate] = json.loads(self.rondo("eval", "--checkpoint", "gate" + gate, "--task", "recall", "--tokens", "64",
                                                 *ids, "--outside-window", "8", "--threads", "1", "--json").stdout)
        self.assertEqual(scores["-10000"]["model"], scores["-10000"]["memory_off"])
        self.assertNotEqual(scores["20"]["model"], scores["20"]["memory_off"])

    def test_eval_says_how_many_passkeys_were_seen(self):
        self.prepare("passkey", "--samples", "8", "--tokens", "48", "--digits", "2", output="keys.h5")
        settings = ("data.corpus=keys.h5", "data.sequence_length=48", "data.whole_documents=true", "model.d_model=32",
                    "train.steps=1", "train.warmup_steps=0", "parallel.threads=1", "precision.compute=fp32")
        self.rondo("train", f"{OPTIONS.source}/configs/tiny.toml", "--run", "keys", *with_settings(*settings))
        ask = ["eval", "--checkpoint", "keys", "--task", "passkey", "--digits", "2", "--samples", "30", "--threads", "1"]
        said = json.loads(self.rondo(*ask, "--train-samples", "10000", "--json").stdout)
        self.assertEqual(said["passkeys_in_train"], 1)  # 100 different keys
        self.assertEqual(said["model"]["tokens"]["all"], 60)
        self.assertNotIn("memory_off", said)  # this model has none
        self.assertNotIn("compressions", self.rondo(*ask).stdout)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + read_options("program", "mpiexec", "source"))

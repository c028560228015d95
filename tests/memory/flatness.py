# SPDX-License-Identifier: Apache-2.0
"""The memory of a rank does not grow with the number of ranks that share a sequence, at fixed tokens per rank.

usage: flatness.py RONDO IDLE_RANKS MPIEXEC [unittest arguments]
"""
import json
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "support"))
from launch_ranks import on_ranks  # noqa: E402

PROGRAM, IDLE, MPIEXEC = sys.argv[1:4]
RANKS = (1, 2, 4, 8, 16)
TOKENS_PER_RANK = 1024

D_MODEL = 1024
ACTIVATION_BYTES = TOKENS_PER_RANK * D_MODEL * 4  # one activation of a shard in fp32

# Wide, so that a token takes many bytes; small heads and few weights, so that sixteen ranks need only seconds on two cores.
CONFIG = f"""
[model]
layers = 4
d_model = {D_MODEL}
heads = 1
head_dim = 16
d_ff = 16
[data]
corpus = "corpus.h5"
[train]
steps = 3
learning_rate = 1e-3
warmup_steps = 1
[evaluate]
sequences = 1
[checkpoint]
every_minutes = 0
[log]
every_steps = 1
[parallel]
device = "cpu"
threads = 1
[precision]
compute = "fp32"
"""


class Flatness(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="rondo-flatness-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        # One document: every rank needs the keys of every other rank, so shards travel round the whole ring.
        draw = random.Random(7)
        words = ["ring ", "attention ", "keys ", "values ", "go ", "round ", "the "]
        tokens = max(RANKS) * TOKENS_PER_RANK
        (cls.folder / "text.txt").write_text("".join(draw.choice(words) for _ in range(tokens // 3)))
        (cls.folder / "run.toml").write_text(CONFIG)
        cls.run_program([PROGRAM, "prepare", "text.txt", "--output", "corpus.h5", "--tokenizer", "bytes"])
        cls.metrics = {ranks: cls.train(ranks) for ranks in RANKS}
        cls.estimates = {ranks: cls.estimate(ranks) for ranks in RANKS}
        cls.idle = {ranks: int(cls.run_program(cls.launch(ranks, IDLE))) for ranks in RANKS}
        cls.show()

    @classmethod
    def run_program(cls, command):
        done = subprocess.run(command, capture_output=True, text=True, cwd=cls.folder)  # ctest limits the time
        assert done.returncode == 0, done.stderr
        return done.stdout

    @staticmethod
    def launch(ranks, *command):
        return on_ranks(MPIEXEC, ranks, command)

    @staticmethod
    def settings(ranks, changes):
        keys = [f"data.sequence_length={ranks * TOKENS_PER_RANK}", *changes]
        return [word for key in keys for word in ("--set", key)]

    @classmethod
    def train(cls, ranks, run=None, changes=()):
        run = run or f"run-{ranks}"
        cls.run_program(cls.launch(ranks, PROGRAM, "train", "run.toml", "--run", run, *cls.settings(ranks, changes)))
        lines = [json.loads(line) for line in (cls.folder / run / "metrics.jsonl").read_text().splitlines()]
        return [line for line in lines if "peak_bytes" in line][-1]

    @classmethod
    def estimate(cls, ranks, changes=()):
        """Bytes that a rank will take, as `rondo check` estimates them."""
        done = cls.run_program([PROGRAM, "check", "run.toml", "--ranks", str(ranks), "--json", *cls.settings(ranks, changes)])
        return json.loads(done)["memory_bytes_per_rank"]

    @classmethod
    def show(cls):
        uses = [use for use in cls.metrics[1]["peak_bytes"] if any(cls.metrics[r]["peak_bytes"][use] for r in RANKS)]
        print("ranks", *uses, "total", "estimated", "resident", "idle", "resident-idle", sep="\t")
        for ranks in RANKS:
            line = cls.metrics[ranks]
            print(ranks, *(line["peak_bytes"][use] for use in uses), line["peak_total_bytes"], cls.estimates[ranks],
                  line["peak_resident_bytes"], cls.idle[ranks], cls.own_resident(ranks), sep="\t", flush=True)

    @classmethod
    def own_resident(cls, ranks):
        return cls.metrics[ranks]["peak_resident_bytes"] - cls.idle[ranks]

    def expect_flat(self, bytes_by_ranks, share):
        least, most = min(bytes_by_ranks.values()), max(bytes_by_ranks.values())
        self.assertGreater(least, 0)
        self.assertLessEqual(most, (1 + share) * least, bytes_by_ranks)

    def test_bytes_by_use_are_flat(self):
        self.expect_flat({ranks: self.metrics[ranks]["peak_total_bytes"] for ranks in RANKS}, 0.01)

    def test_the_estimate_is_what_a_rank_takes(self):
        for ranks in RANKS:
            measured = self.metrics[ranks]["peak_total_bytes"]
            self.assertLessEqual(abs(self.estimates[ranks] - measured), 0.03 * measured, f"{ranks} ranks")

    # Besides its device memory a process holds libraries, compiled products and MPI's own memory, which are the same for any
    # model. So more tokens add to the resident bytes what they add to the estimate.
    def test_resident_bytes_grow_as_the_estimate_says(self):
        more = [f"data.sequence_length={4 * TOKENS_PER_RANK}"]  # on one rank
        grown = self.train(1, "run-long", more)["peak_resident_bytes"] - self.metrics[1]["peak_resident_bytes"]
        estimated = self.estimate(1, more) - self.estimates[1]
        self.assertLessEqual(abs(grown - estimated), 0.05 * estimated, f"{grown} bytes, estimated {estimated}")

    def test_shares_of_other_ranks_take_the_same_for_any_ring(self):
        slots = [self.metrics[ranks]["peak_bytes"]["key_value_slots"] for ranks in RANKS if ranks > 1]
        self.assertEqual(slots, [slots[0]] * len(slots))
        self.assertEqual(self.metrics[1]["peak_bytes"]["key_value_slots"], 0, "a rank alone holds no other's keys")

    def test_a_rank_keeps_nothing_of_every_other_rank(self):
        # Resident bytes include buffers of MPI and HDF5 and memory that malloc does not return, which vary by some MiB between
        # starts, and more on a busy machine. One activation of every other rank's shard would be 60 MiB on sixteen ranks.
        own = {ranks: self.own_resident(ranks) for ranks in RANKS}
        one_of_each_other_rank = (max(RANKS) - 1) * ACTIVATION_BYTES
        self.assertLess(max(own.values()) - min(own.values()), one_of_each_other_rank / 4, own)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[4:])

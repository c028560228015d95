#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Does a training step with Infini-attention cost as much per token on a long sequence as on a short one?

usage: jobs/linear-cost.py --corpus corpus.h5 [--config configs/100m-tokens.toml] [--ranks 2] [--rounds 3] [--lengths 16384 4194304]

Each round measures one step of every length, with as many sequences as make a million tokens, so that changes in the speed of
the machine affect all lengths alike. Prints, for each length, the median over the rounds of the tokens per second, its ratio to
that of the shortest, the peak memory per rank, its growth over the shortest per additional span, which is the size of the state
kept for a span, and all rounds."""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
SPAN = 1024  # tokens; all spans but the last run forward twice, which saves the shortest, with its sixteen, 2 %


def bench(options, length):
    """@returns (tokens/s, largest peak bytes per rank) of training steps on sequences of `length` tokens"""
    settings = [f"data.corpus={options.corpus}", f"data.sequence_length={length}", f"memory.span_tokens={SPAN}",
                f"train.batch_sequences={max(1, 2**20 // length)}", "memory.span_states_mib=4096"]
    command = [ROOT / "jobs/launch.sh", "-n", str(options.ranks), options.program, "bench", "step",
               options.config, *[word for setting in settings for word in ("--set", setting)], "--threads", "1",
               "--warm-ups", "0", "--runs", "1", "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)
    result = json.loads(done.stdout)["results"][0]
    return result["tokens_per_s"], result["peak_bytes_of_a_rank"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--config", default=str(ROOT / "configs/100m-tokens.toml"))
    parser.add_argument("--program", default=str(ROOT / "build/release/bin/rondo"))
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lengths", type=int, nargs="+", default=[2**14, 2**16, 2**18, 2**20, 2**22])
    options = parser.parse_args()

    speeds = {length: [] for length in options.lengths}
    memory = {}
    for number in range(options.rounds):
        for length in options.lengths:
            speed, memory[length] = bench(options, length)
            speeds[length].append(speed)
            print(f"round {number + 1}: {length} tokens, {speed:.0f} tokens/s", file=sys.stderr, flush=True)
    shortest = options.lengths[0]
    first = statistics.median(speeds[shortest])
    print(f"{'tokens':>9} {'tokens/s':>9} {'ratio':>6} {'MiB per rank':>12} {'KiB per state':>12}  rounds")
    for length, values in speeds.items():
        median = statistics.median(values)
        spans = (length - shortest) / SPAN
        state = f"{(memory[length] - memory[shortest]) / spans / 2**10:.1f}" if spans > 0 else ""
        print(f"{length:>9} {median:>9.0f} {median / first:>6.2f} {memory[length] / 2**20:>11.1f} {state:>12}  "
              + " ".join(f"{value:.0f}" for value in values))


main()

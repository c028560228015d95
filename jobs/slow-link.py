#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Does arithmetic hide the transfers of the ring? Measured on a link that is slow enough to matter.

usage (as root): jobs/slow-link.py [--program build/release/bin/rondo] [--rounds 5]

Two ranks in a network namespace of their own communicate over TCP on its loopback, once unlimited and once limited by a token
bucket (tc tbf) to a rate at which one transfer takes a chosen fraction of the arithmetic of a hop. For each ratio it prints, for
the forward pass,
  cost     (wall on the slow link - wall on the fast link) / transfer alone: 0 if all is hidden, 1 if nothing is
  exposed  the exposed communication that the program itself reports, beside that difference of wall times
Fast and slow runs alternate, and the figures are medians over the rounds."""
import argparse
import contextlib
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
NAMESPACE = f"rondo-{os.getpid()}"
SHAPE = ["--tokens", "8192", "--heads", "8", "--head-dim", "64"]


def run(*command):
    subprocess.run(command, check=True)


@contextlib.contextmanager
def network_namespace():
    run("ip", "netns", "add", NAMESPACE)
    try:
        run("ip", "-n", NAMESPACE, "link", "set", "lo", "up")
        yield
    finally:
        run("ip", "netns", "del", NAMESPACE)


def bench(program, runs):
    """The forward pass of `rondo bench ring` in the namespace."""
    command = ["ip", "netns", "exec", NAMESPACE, ROOT / "jobs/launch.sh", "--tcp", "-n", "2",
               program, "bench", "ring", *SHAPE, "--pass", "forward", "--threads", "1", "--warm-ups", "1", "--runs", str(runs), "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)
    return json.loads(done.stdout)["results"][0]


def measure(program, ratio, rounds, runs):
    """Prints one line. ratio: arithmetic of a hop / transfer."""
    first = bench(program, runs)
    hop_s = first["arithmetic_alone_ms"] / first["hops"] * 1e-3
    # Both ranks send at the same time, and both messages share the one loopback.
    bits_per_s = 2 * 8 * first["sent_bytes"] / (hop_s / ratio)
    fast, slow = [], []
    for _ in range(rounds):
        fast.append(bench(program, runs))
        run("tc", "-n", NAMESPACE, "qdisc", "add", "dev", "lo", "root", "tbf", "rate", f"{bits_per_s:.0f}bit",
            "burst", "256kb", "limit", "4mb")
        try:
            slow.append(bench(program, runs))
        finally:
            run("tc", "-n", NAMESPACE, "qdisc", "del", "dev", "lo", "root")
    middle = lambda results, key: statistics.median(result[key] for result in results)
    transfer = middle(slow, "transfer_alone_ms")
    difference = statistics.median(s["median_ms"] - f["median_ms"] for f, s in zip(fast, slow))
    exposed = middle(slow, "exposed_communication_ms")
    print(f"arithmetic of a hop / transfer {middle(fast, 'arithmetic_alone_ms') / first['hops'] / transfer:.2f}: "
          f"{bits_per_s * 1e-9:.2f} Gbit/s, transfer alone {transfer:.1f} ms, wall {middle(fast, 'median_ms'):.1f} ms fast, "
          f"{middle(slow, 'median_ms'):.1f} ms slow")
    print(f"  cost {difference / transfer:.3f} of the transfer; exposed {exposed:.1f} ms reported, {difference:.1f} ms by the walls")
    sys.stdout.flush()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="build/release/bin/rondo")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=5, help="of rondo bench ring, in each round")
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("slow-link: needs root, for a network namespace of its own")
    for command in ("ip", "tc"):
        if shutil.which(command) is None:
            sys.exit(f"slow-link: {command} is missing: Debian package iproute2")
    with network_namespace():
        for ratio in (1.5, 0.5):  # first hidden, then more to send than arithmetic can hide
            measure(options.program, ratio, options.rounds, options.runs)


main()

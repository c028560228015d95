#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""How far the memory and normaliser of Infini-attention drift when kept in fp32, in fp32 with compensated sums, or in
fp64, over many segments: the evidence for the type in which Rondo keeps them.

All variants get the same features of keys and values, rounded to fp32, and differ only in the state:
  fp32         state and products in fp32
  compensated  the same, and each sum carries its rounding error along (Kahan); what is read is the sum alone
  mixed        sums in fp64, but recall and products from the state rounded to fp32
  fp64         state and products in fp64; its own error is taken against long doubles over fewer segments
Every variant but the last is compared with fp64. Streams:
  text    channel means, an AR(1) topic over segments and noise by token; keys of size 1 to 2, values of size 1
  filler  25 tokens over and over, as in the passkey task
  fixed   one segment over and over: every sum rounds the same way
Errors are Frobenius norms relative to the exact one's; "read" is psi M / (psi . z) for 64 queries like the keys.
"""
import argparse
import time

import numpy as np

from infini import RULES, sigma

STREAMS = ("text", "filler", "fixed")


class Streams:
    """Features and values [streams, L, D] in fp32 of one segment after another."""

    def __init__(self, tokens, dim, seed):
        self.tokens, self.random, self.next = tokens, np.random.default_rng(seed), 0
        self.mean_k, self.mean_v = self.random.standard_normal(dim), 0.3 * self.random.standard_normal(dim)
        self.topic = np.zeros((2, dim))
        self.tables = {kind: self.draw(rows) for kind, rows in (("filler", 25), ("fixed", tokens))}
        self.queries = sigma(self.draw(64)[0])

    def draw(self, tokens):
        noise = self.random.standard_normal((2, tokens, len(self.mean_k)))
        self.topic = 0.95 * self.topic + np.sqrt(1 - 0.95**2) * 0.7 * self.random.standard_normal(self.topic.shape)
        return noise[0] + self.mean_k + self.topic[0], noise[1] * 0.7 + self.mean_v + self.topic[1]

    def segment(self):
        parts = [self.draw(self.tokens)]
        for keys, values in self.tables.values():
            rows = (self.next + np.arange(self.tokens)) % len(keys)
            parts.append((keys[rows], values[rows]))
        self.next += self.tokens
        keys, values = (np.stack(part) for part in zip(*parts))
        return sigma(keys).astype(np.float32), values.astype(np.float32)


class Memory:
    """M [streams, D, D] and z [streams, D], kept as `variant` says."""

    def __init__(self, variant, rule, dim, wide=np.float64):
        self.variant, self.rule = variant, rule
        state = wide if variant in ("mixed", "fp64") else np.float32
        self.work = wide if variant == "fp64" else np.float32
        self.sums = [np.zeros((len(STREAMS), dim, dim), state), np.zeros((len(STREAMS), dim), state)]
        self.lost = [np.zeros_like(x) for x in self.sums]

    def add(self, which, term):
        if self.variant != "compensated":
            self.sums[which] += term
            return
        corrected = term - self.lost[which]
        total = self.sums[which] + corrected
        self.lost[which] = (total - self.sums[which]) - corrected
        self.sums[which] = total

    def write(self, features, values, first):
        phi, v = features.astype(self.work, copy=False), values.astype(self.work, copy=False)
        terms = phi  # of z, by token
        if self.rule != "linear" and not first:
            memory, z = (x.astype(self.work, copy=False) for x in self.sums)
            overlap = phi @ z[:, :, None]  # c [streams, L, 1]; features of these streams are never 0
            divisor = overlap  # 1 / w
            if self.rule == "delta_corrected":
                within = phi @ phi.sum(axis=1)[:, :, None]  # e
                divisor = np.maximum(overlap, within)
                terms = np.maximum(1 - overlap / within, 0) * phi  # gamma phi
            v = v - (phi @ memory) / divisor
        self.add(0, phi.transpose(0, 2, 1) @ v)
        self.add(1, terms.sum(axis=1))

    def read(self, psi):
        memory, z = (x.astype(np.float64) for x in self.sums)
        return (psi @ memory) / (psi @ z[:, :, None])


def relative(actual, exact):
    """[streams]"""
    norm = lambda x: np.sqrt((x.reshape(len(x), -1).astype(np.float64) ** 2).sum(axis=1))
    return norm(actual - exact) / norm(exact)


def report(rule, segments, memory, exact, psi, variant):
    errors = [relative(*pair) for pair in (*zip(memory.sums, exact.sums), (memory.read(psi), exact.read(psi)))]
    for i, kind in enumerate(STREAMS):
        sizes = "".join(f"{np.abs(x[i]).max():9.1e} " for x in exact.sums)
        figures = "".join(f"{error[i]:9.1e} " for error in errors)
        print(f"{kind:7} {rule:15} {segments:8d} {variant:12}{figures} {sizes}", flush=True)


def study(rule, options, at):
    """Prints the errors of every variant after each number of segments in `at`."""
    streams = Streams(options.segment_tokens, options.dim, seed=1)
    exact = Memory("fp64", rule, options.dim)
    others = [Memory(variant, rule, options.dim) for variant in ("fp32", "compensated", "mixed")]
    longest = Memory("fp64", rule, options.dim, np.longdouble)
    for s in range(at[-1]):
        features, values = streams.segment()
        for memory in [exact] + others + ([longest] if s < options.long_segments else []):
            memory.write(features, values, s == 0)
        if s + 1 == options.long_segments:
            report(rule, s + 1, exact, longest, streams.queries, "fp64")
        if s + 1 in at:
            for memory in others:
                report(rule, s + 1, memory, exact, streams.queries, memory.variant)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--segments", type=int, default=200000)
    parser.add_argument("--segment-tokens", type=int, default=16)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--long-segments", type=int, default=1000, help="of the comparison with long doubles")
    parser.add_argument("--rules", nargs="+", choices=RULES, default=RULES)
    options = parser.parse_args()
    at = [n for n in (2000, 20000) if n < options.segments] + [options.segments]
    start = time.monotonic()
    print(f"D = {options.dim}, L = {options.segment_tokens}\n"
          "stream  rule            segments variant       error M   error z  err.read   max |M|   max z")
    for rule in options.rules:
        study(rule, options, at)
    print(f"{time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()

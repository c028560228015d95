#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Dense attention in fp64, forward and backward, straight from the formula, for comparison with Rondo.

INPUT and OUTPUT are HDF5 files, or folders with one .npy file a tensor. Input: q [B,S,N,D], k and v [B,S,G,D],
optionally d_out [B,S,N,D] and document_offsets [documents + 1]; the batch axis may be missing in folders.
Output: out, lse [B,N,S] and, with d_out, d_q, d_k and d_v. Masks are S x S: keep S in the thousands.
"""
import argparse
import os

import numpy as np


def read(path):
    names = ["q", "k", "v", "d_out", "document_offsets"]
    if os.path.isdir(path):
        files = {name: os.path.join(path, name + ".npy") for name in names}
        return {name: np.load(file) for name, file in files.items() if os.path.exists(file)}
    import h5py
    with h5py.File(path, "r") as file:
        return {name: file[name][...] for name in names if name in file}


def write(path, tensors):
    if not path.endswith((".h5", ".hdf5")):
        os.makedirs(path, exist_ok=True)
        for name, value in tensors.items():
            np.save(os.path.join(path, name + ".npy"), np.ascontiguousarray(value))
        return
    import h5py
    with h5py.File(path, "w") as file:
        for name, value in tensors.items():
            file[name] = value


def visible(tokens, causal, window, offsets):
    """[S, S] boolean: may query i (row) see key j (column)?"""
    i, j = np.arange(tokens)[:, None], np.arange(tokens)[None, :]
    seen = np.ones((tokens, tokens), dtype=bool)
    if causal:
        seen &= j <= i
    if window > 0:
        seen &= (i - j >= 0) & (i - j < window)
    if offsets is not None:
        document = np.zeros(tokens, dtype=np.int64)
        for number, (first, last) in enumerate(zip(offsets[:-1], offsets[1:])):
            document[first:last] = number
        seen &= document[:, None] == document[None, :]
    return seen


def attention(q, k, v, d_out, seen, scale):
    """One sequence. Softmax over the visible keys; rows without any give 0 and -inf."""
    tokens, heads, dim = q.shape
    share = heads // k.shape[1]
    out, lse = np.zeros_like(q), np.full((heads, tokens), -np.inf)
    d_q, d_k, d_v = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)
    for head in range(heads):
        group = head // share
        scores = np.where(seen, scale * (q[:, head] @ k[:, group].T), -np.inf)
        top = scores.max(axis=1, keepdims=True)
        top[~np.isfinite(top)] = 0.0
        weights = np.exp(scores - top)
        total = weights.sum(axis=1, keepdims=True)
        filled = total[:, 0] > 0
        probabilities = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
        out[:, head] = probabilities @ v[:, group]
        lse[head, filled] = top[filled, 0] + np.log(total[filled, 0])
        if d_out is None:
            continue
        # Softmax Jacobian in full: dS = P * (dP - sum_j P dP), with dP = d_out v^T.
        d_probabilities = d_out[:, head] @ v[:, group].T
        inner = (probabilities * d_probabilities).sum(axis=1, keepdims=True)
        d_scores = probabilities * (d_probabilities - inner)
        d_q[:, head] = scale * (d_scores @ k[:, group])
        d_k[:, group] += scale * (d_scores.T @ q[:, head])
        d_v[:, group] += probabilities.T @ d_out[:, head]
    result = {"out": out, "lse": lse}
    if d_out is not None:
        result.update(d_q=d_q, d_k=d_k, d_v=d_v)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input")
    parser.add_argument("output")
    parser.add_argument("--causal", action="store_true")
    parser.add_argument("--window", type=int, default=0, help="keys with 0 <= i - j < WINDOW")
    parser.add_argument("--scale", type=float, default=None, help="1/sqrt(D) if not given")
    options = parser.parse_args()

    tensors = read(options.input)
    offsets = tensors.pop("document_offsets", None)
    batched = tensors["q"].ndim == 4
    tensors = {name: np.asarray(value, dtype=np.float64) for name, value in tensors.items()}
    if not batched:
        tensors = {name: value[None] for name, value in tensors.items()}
    tokens, dim = tensors["q"].shape[1], tensors["q"].shape[3]
    scale = 1.0 / np.sqrt(dim) if options.scale is None else options.scale
    seen = visible(tokens, options.causal, options.window, offsets)
    results = [
        attention(tensors["q"][b], tensors["k"][b], tensors["v"][b],
                  tensors["d_out"][b] if "d_out" in tensors else None, seen, scale)
        for b in range(tensors["q"].shape[0])
    ]
    stacked = {name: np.stack([result[name] for result in results]) for name in results[0]}
    if not batched:
        stacked = {name: value[0] for name, value in stacked.items()}
    write(options.output, stacked)


if __name__ == "__main__":
    main()

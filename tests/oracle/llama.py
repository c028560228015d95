#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A tiny LLaMA in fp64 NumPy, forward and backward, written from the papers and the Hugging Face conventions, which
makes the golden files of the model test: weights, tokens, logits, losses and gradients.

    tests/oracle/llama.py --write tests/model/golden     makes the three files
    tests/oracle/llama.py --check tests/model/golden     says whether the files are what this program makes

Its own backward is checked against central differences each time. A golden file is the line `RONDO-GOLDEN 1`, then for
each tensor a line `name type dim dim ...` (type f8 or i8) followed by its little-endian bytes in C order.
"""
import argparse
import io
import os
import sys

import numpy as np

# Nothing divides anything: head_dim * heads differs from d_model, and documents have odd lengths.
SHAPE = dict(layers=2, d_model=18, heads=4, kv_heads=2, head_dim=8, d_ff=26, vocabulary=31)
DOCUMENTS = [0, 11, 12, 23]
EPSILON, THETA = 1e-5, 10000.0
LLAMA3 = dict(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=200)
VARIANTS = {
    "tied_none": dict(tied=True, scaling="none"),
    "untied_linear": dict(tied=False, scaling="linear"),
    "untied_llama3": dict(tied=False, scaling="llama3"),
}


def inverse_frequencies(scaling):
    """theta^(-2i/D), then as transformers' modeling_rope_utils: linear divides by the factor; llama3 keeps short
    wavelengths, divides long ones by the factor and blends in between."""
    dim = SHAPE["head_dim"]
    plain = 1.0 / THETA ** (np.arange(0, dim, 2) / dim)
    if scaling == "none":
        return plain
    if scaling == "linear":
        return plain / 4.0
    context = LLAMA3["original_max_position_embeddings"]
    low, high, factor = LLAMA3["low_freq_factor"], LLAMA3["high_freq_factor"], LLAMA3["factor"]
    result = np.empty_like(plain)
    for i, frequency in enumerate(plain):
        wavelength = 2 * np.pi / frequency
        if wavelength < context / high:
            result[i] = frequency
        elif wavelength > context / low:
            result[i] = frequency / factor
        else:
            smooth = (context / wavelength - low) / (high - low)
            result[i] = (1 - smooth) * frequency / factor + smooth * frequency
    return result


def make_weights(tied, seed):
    random = np.random.default_rng(seed)
    c, f, v = SHAPE["d_model"], SHAPE["d_ff"], SHAPE["vocabulary"]
    n, g, d = SHAPE["heads"], SHAPE["kv_heads"], SHAPE["head_dim"]
    matrix = lambda rows, columns: random.standard_normal((rows, columns)) * 0.8 / np.sqrt(columns)
    gain = lambda: 1.0 + 0.3 * random.standard_normal(c)
    weights = {"embedding": random.standard_normal((v, c)) * 0.7}
    for i in range(SHAPE["layers"]):
        weights.update({
            f"layers.{i}.attention_norm": gain(),
            f"layers.{i}.qkv": 1.5 * matrix((n + 2 * g) * d, c),
            f"layers.{i}.attention_out": matrix(c, n * d),
            f"layers.{i}.ffn_norm": gain(),
            f"layers.{i}.gate_up": 1.5 * matrix(2 * f, c),
            f"layers.{i}.down": matrix(c, f),
        })
    weights["final_norm"] = gain()
    if not tied:
        weights["head"] = matrix(v, c)
    return weights


def rms_norm(x, gain):
    root = np.sqrt((x * x).mean(axis=-1, keepdims=True) + EPSILON)
    return x / root * gain, (x, gain, root)


def rms_norm_backward(d_y, cache):
    x, gain, root = cache
    unit = x / root
    d_unit = d_y * gain
    return (d_unit - unit * (d_unit * unit).mean(axis=-1, keepdims=True)) / root, (d_y * unit).sum(axis=0)


def rotate(x, angles):
    """rotate_half convention; x [T, heads, D], angles [T, D/2]."""
    cos, sin = (np.concatenate([turn(angles)] * 2, axis=-1)[:, None, :] for turn in (np.cos, np.sin))
    half = x.shape[-1] // 2
    return x * cos + np.concatenate([-x[..., half:], x[..., :half]], axis=-1) * sin


def attention_weights(q, k, seen):
    """q [T, N, D], k [T, N, D] (already repeated): [N, T, T]."""
    scores = np.einsum("ind,jnd->nij", q, k) / np.sqrt(q.shape[-1])
    scores = np.where(seen, scores, -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def block(x, w, i, angles, seen):
    n, g, d = SHAPE["heads"], SHAPE["kv_heads"], SHAPE["head_dim"]
    tokens = x.shape[0]
    normed, norm_1 = rms_norm(x, w[f"layers.{i}.attention_norm"])
    qkv = (normed @ w[f"layers.{i}.qkv"].T).reshape(tokens, n + 2 * g, d)
    q, k = rotate(qkv[:, :n], angles), rotate(qkv[:, n:n + g], angles)
    k, v = np.repeat(k, n // g, axis=1), np.repeat(qkv[:, n + g:], n // g, axis=1)
    p = attention_weights(q, k, seen)
    mixed = np.einsum("nij,jnd->ind", p, v).reshape(tokens, n * d)
    middle = x + mixed @ w[f"layers.{i}.attention_out"].T
    normed_2, norm_2 = rms_norm(middle, w[f"layers.{i}.ffn_norm"])
    gate, up = np.split(normed_2 @ w[f"layers.{i}.gate_up"].T, 2, axis=-1)
    sigmoid = 1 / (1 + np.exp(-gate))
    hidden = gate * sigmoid * up
    y = middle + hidden @ w[f"layers.{i}.down"].T
    return y, (normed, norm_1, q, k, v, p, mixed, normed_2, norm_2, gate, up, sigmoid, hidden)


def block_backward(d_y, w, i, angles, cache, grad):
    normed, norm_1, q, k, v, p, mixed, normed_2, norm_2, gate, up, sigmoid, hidden = cache
    n, g, d = SHAPE["heads"], SHAPE["kv_heads"], SHAPE["head_dim"]
    tokens = d_y.shape[0]
    grad[f"layers.{i}.down"] = d_y.T @ hidden
    d_hidden = d_y @ w[f"layers.{i}.down"]
    d_gate = d_hidden * up * (sigmoid + gate * sigmoid * (1 - sigmoid))
    d_packed = np.concatenate([d_gate, d_hidden * gate * sigmoid], axis=-1)
    grad[f"layers.{i}.gate_up"] = d_packed.T @ normed_2
    d_x, grad[f"layers.{i}.ffn_norm"] = rms_norm_backward(d_packed @ w[f"layers.{i}.gate_up"], norm_2)
    d_middle = d_y + d_x

    grad[f"layers.{i}.attention_out"] = d_middle.T @ mixed
    d_mixed = (d_middle @ w[f"layers.{i}.attention_out"]).reshape(tokens, n, d)
    d_p = np.einsum("ind,jnd->nij", d_mixed, v)
    d_v = np.einsum("nij,ind->jnd", p, d_mixed)
    d_scores = p * (d_p - (p * d_p).sum(axis=-1, keepdims=True)) / np.sqrt(d)
    d_q, d_k = np.einsum("nij,jnd->ind", d_scores, k), np.einsum("nij,ind->jnd", d_scores, q)
    d_k, d_v = (t.reshape(tokens, g, n // g, d).sum(axis=2) for t in (d_k, d_v))
    d_qkv = np.concatenate([rotate(d_q, -angles), rotate(d_k, -angles), d_v], axis=1).reshape(tokens, -1)
    grad[f"layers.{i}.qkv"] = d_qkv.T @ normed
    d_x, grad[f"layers.{i}.attention_norm"] = rms_norm_backward(d_qkv @ w[f"layers.{i}.qkv"], norm_1)
    return d_middle + d_x


def run(w, tokens, targets, frequencies, with_gradient):
    """Mean loss over the tokens that have a target, logits, losses by token, and gradients of the mean loss."""
    positions = np.arange(len(tokens))
    angles = positions[:, None] * frequencies[None, :]
    document = np.searchsorted(DOCUMENTS, positions, side="right")
    seen = (positions[None, :] <= positions[:, None]) & (document[None, :] == document[:, None])
    x, caches = w["embedding"][tokens], []
    for i in range(SHAPE["layers"]):
        x, cache = block(x, w, i, angles, seen)
        caches.append(cache)
    final, final_norm = rms_norm(x, w["final_norm"])
    head = w.get("head", w["embedding"])
    logits = final @ head.T
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    has_target = targets >= 0
    losses = np.zeros(len(tokens))
    losses[has_target] = -log_probabilities[has_target, targets[has_target]]
    loss = losses.sum() / has_target.sum()
    if not with_gradient:
        return loss

    grad = {}
    d_logits = np.exp(log_probabilities)
    d_logits[has_target, targets[has_target]] -= 1
    d_logits *= has_target[:, None] / has_target.sum()
    d_head = d_logits.T @ final
    d_x, grad["final_norm"] = rms_norm_backward(d_logits @ head, final_norm)
    for i in reversed(range(SHAPE["layers"])):
        d_x = block_backward(d_x, w, i, angles, caches[i], grad)
    grad["embedding"] = np.zeros_like(w["embedding"])
    np.add.at(grad["embedding"], tokens, d_x)
    if "head" in w:
        grad["head"] = d_head
    else:
        grad["embedding"] += d_head
    return loss, logits, losses, grad


def check_gradient(w, grad, objective, entries):
    """Some entries of every tensor by the five-point rule."""
    random, step, worst = np.random.default_rng(0), 1e-3, 0.0
    for name, value in w.items():
        flat, typical = value.reshape(-1), np.sqrt((grad[name] ** 2).mean())
        for entry in random.choice(flat.size, size=min(entries, flat.size), replace=False):
            saved, at = flat[entry], {}
            for k in (-2, -1, 1, 2):
                flat[entry] = saved + k * step
                at[k] = objective()
            flat[entry] = saved
            difference = (8 * (at[1] - at[-1]) - (at[2] - at[-2])) / (12 * step)
            error = abs(grad[name].reshape(-1)[entry] - difference) / max(abs(difference), typical)
            worst = max(worst, error)
            if error > 1e-7:
                sys.exit(f"gradient of {name} is wrong: relative error {error:.1e}")
    return worst


def golden(variant, entries):
    tied, scaling = VARIANTS[variant]["tied"], VARIANTS[variant]["scaling"]
    w = make_weights(tied, seed=list(VARIANTS).index(variant) + 1)
    tokens = np.random.default_rng(7).integers(0, SHAPE["vocabulary"], DOCUMENTS[-1])
    targets = np.append(tokens[1:], -1)
    targets[np.array(DOCUMENTS[1:]) - 1] = -1  # the last token of a document has no target
    frequencies = inverse_frequencies(scaling)
    loss, logits, losses, grad = run(w, tokens, targets, frequencies, True)
    worst = check_gradient(w, grad, lambda: run(w, tokens, targets, frequencies, False), entries)
    print(f"{variant}: loss {loss:.6f}, gradients agree with central differences to {worst:.0e}")

    tensors = {"config." + name: np.int64(value) for name, value in SHAPE.items()}
    tensors.update({"config.norm_epsilon": EPSILON, "config.rope_theta": THETA, "config.tied": np.int64(tied)})
    if scaling == "linear":
        tensors["config.rope_scaling.factor"] = 4.0
    if scaling == "llama3":
        tensors.update({"config.rope_scaling." + name: float(value) for name, value in LLAMA3.items()})
    tensors.update({"inverse_frequencies": frequencies, "document_offsets": np.array(DOCUMENTS), "tokens": tokens,
                    "targets": targets, "loss": loss, "losses": losses, "logits": logits})
    tensors.update({"parameter." + name: value for name, value in w.items()})
    tensors.update({"gradient." + name: grad[name] for name in w})
    return tensors


def serialised(tensors):
    out = io.BytesIO()
    out.write(b"RONDO-GOLDEN 1\n")
    for name, value in tensors.items():
        value = np.ascontiguousarray(value) if np.ndim(value) else np.asarray(value)
        kind = "i8" if value.dtype.kind == "i" else "f8"
        out.write(" ".join([name, kind, *map(str, value.shape)]).encode() + b"\n")
        out.write(value.astype("<" + kind).tobytes())
    return out.getvalue()


def parsed(data):
    stream, tensors = io.BytesIO(data), {}
    assert stream.readline() == b"RONDO-GOLDEN 1\n"
    while line := stream.readline().decode():
        name, kind, *dims = line.split()
        shape = tuple(map(int, dims))
        count = int(np.prod(shape, dtype=np.int64))
        tensors[name] = np.frombuffer(stream.read(8 * count), dtype="<" + kind).reshape(shape)
    return tensors


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--write", metavar="FOLDER")
    action.add_argument("--check", metavar="FOLDER")
    options = parser.parse_args()
    for variant in VARIANTS:
        path = os.path.join(options.write or options.check, f"llama_{variant}.golden")
        tensors = golden(variant, entries=20 if options.write else 4)
        if options.write:
            with open(path, "wb") as file:
                file.write(serialised(tensors))
            continue
        with open(path, "rb") as file:
            stored = parsed(file.read())
        if list(stored) != list(tensors):
            sys.exit(f"{path}: holds other tensors")
        for name, value in tensors.items():
            # Libraries of matrix products differ in the order of their sums.
            if not np.allclose(stored[name], value, rtol=1e-11, atol=1e-13):
                sys.exit(f"{path}: {name} differs")


if __name__ == "__main__":
    main()

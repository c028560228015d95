#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Infini-attention (Munkhdalai, Faruqui, Gopal, arXiv 2404.07143) in fp64, token by token from the equations, forward
and backward: the definition that Rondo's kernels are tested against. Sequential and never fast.

Tensors of one sequence: q [S,N,D], k and v [S,G,D] not rotated, beta [N]; query head n uses key head n // (N/G).
Documents start and end at document_offsets and do not see each other. Token i of a document is in segment
i // segment_tokens. With

    m = max(0, i // segment_tokens - window_segments)

it attends by softmax to the tokens m * segment_tokens .. i of its document, rotated by their rotary angles, and reads
the memory into which segments 0 .. m - 1 were written: every token of its past is in exactly one of the two.

A segment with features phi_t = sigma(k_t) of its tokens, u = sum_t phi_t, is written into the old memory M and
normaliser z of its head as a whole. With c_t = phi_t . z and e_t = phi_t . u,

    M += sum_t phi_t^T (v_t - w_t (phi_t M)),   z += sum_t gamma_t phi_t

    linear           w = 0               gamma = 1
    delta            w = 1 / c           gamma = 1
    delta_corrected  w = 1 / max(c, e)   gamma = 1 - c w = max(0, 1 - c / e)

and w = 0, gamma = 1 where the divisor is 0. delta_corrected corrects the known part of a key and adds the rest. It is
never expansive: P = sum_t w_t phi_t^T phi_t has no eigenvalue outside [0, 1], so a write never makes an error in M
larger. delta can be, where a segment brings more than twice what z holds. Where all values are v, linear and
delta_corrected keep M = z v^T and read v. docs/decisions has why delta_corrected is not ARMT's rule (arXiv 2407.04841).

INPUT and OUTPUT are folders with one .npy file a tensor. Input: q, k, v, beta, optionally d_out [S,N,D],
document_offsets [documents + 1] and inverse_frequencies [D/2]. Output: out, local, read [S,N,D], denominator [S,N], the
memory [G,D,D] and normaliser [G,D] that the next token would read and, with d_out, d_q, d_k, d_v and d_beta.
"""
import argparse
import dataclasses
import os

import numpy as np

RULES = ("linear", "delta", "delta_corrected")
ALL = float("inf")  # window_segments: exact attention


@dataclasses.dataclass
class Options:
    segment_tokens: int
    window_segments: float  # a whole number or ALL
    rule: str
    # [D/2], or empty: no turning
    inverse_frequencies: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0))

    def segments_written(self, index):
        """m: the segments that the memory holds for the token at `index` of its document."""
        return int(max(0, index // self.segment_tokens - self.window_segments))


@dataclasses.dataclass
class State:
    """What a document carries on: its next token needs nothing else of its past. The memory holds the first
    m = segments_written(index) segments; keys (not rotated) and values are of tokens m * segment_tokens .. index - 1.
    The gradient of a state is a State too, whose index and position mean nothing."""
    memory: np.ndarray      # [G, D, D], rows by key, columns by value
    normaliser: np.ndarray  # [G, D]
    keys: np.ndarray        # [index - m * segment_tokens, G, D]
    values: np.ndarray      # [index - m * segment_tokens, G, D]
    index: int = 0          # of the next token in its document
    position: int = 0       # of the next token in its sequence, for the rotary angles


def empty_state(kv_heads, dim, position=0):
    nothing = np.zeros((0, kv_heads, dim))
    return State(np.zeros((kv_heads, dim, dim)), np.zeros((kv_heads, dim)), nothing, nothing, 0, position)


# ----------------------------------------------------------------------------------------------------------- pieces


def sigma(x):
    """ELU(x) + 1 without its cancellation."""
    return np.where(x > 0, x + 1, np.exp(np.minimum(x, 0)))


def sigma_slope(x):
    return np.where(x > 0, 1.0, np.exp(np.minimum(x, 0)))


def sigmoid(x):
    return 0.5 * (1 + np.tanh(0.5 * x))


def rotate(x, positions, inverse_frequencies):
    """x [T, heads, D]: pair (i, i + D/2) turns by position * inverse_frequencies[i]. Its gradient turns back."""
    if len(inverse_frequencies) == 0:
        return x
    angles = positions[:, None, None] * inverse_frequencies
    first, second = np.split(x, 2, axis=-1)
    return np.concatenate([first * np.cos(angles) - second * np.sin(angles),
                           second * np.cos(angles) + first * np.sin(angles)], axis=-1)


def recall(memory, normaliser, feature):
    """feature M / (feature . z) and its denominator. Nothing, without gradient, where the denominator is 0."""
    denominator = feature @ normaliser
    if denominator == 0:
        return np.zeros_like(feature), 0.0
    return (feature @ memory) / denominator, denominator


def recall_backward(memory, normaliser, feature, d_recalled):
    """d_memory, d_normaliser and d_feature of recall."""
    recalled, denominator = recall(memory, normaliser, feature)
    if denominator == 0:
        return np.zeros_like(memory), np.zeros_like(normaliser), np.zeros_like(feature)
    d_product = d_recalled / denominator  # product: feature M
    d_denominator = -(d_recalled @ recalled) / denominator
    return (np.outer(feature, d_product), feature * d_denominator,
            memory @ d_product + normaliser * d_denominator)


def write_weights(rule, overlap, within):
    """w and gamma of a token whose key meets `overlap` c >= 0 in the normaliser and `within` e >= 0 in its own segment:
    w (phi M) is taken off its value, gamma phi is added to the normaliser."""
    if rule == "linear":  # equation 8
        return 0.0, 1.0
    divisor = overlap if rule == "delta" else max(overlap, within)  # delta: equation 9
    w = 1 / divisor if divisor > 0 else 0.0
    if rule == "delta" or divisor == 0:
        return w, 1.0
    return w, 1 - overlap / within if overlap < within else 0.0


def write_weights_backward(rule, overlap, within, d_w, d_gamma):
    """d_overlap and d_within. Where they are equal the key is known."""
    w, _ = write_weights(rule, overlap, within)
    if w == 0:
        return 0.0, 0.0
    if rule == "delta" or overlap >= within:
        return -(w**2) * d_w, 0.0
    return -d_gamma / within, d_gamma * overlap / within**2 - w**2 * d_w


def write(memory, normaliser, k, v, rule):
    """The memory [D, D] and normaliser [D] of one head after one more segment, k and v [tokens, D]. All its tokens meet
    the old memory."""
    new_memory, new_normaliser = memory.copy(), normaliser.copy()
    features = sigma(k)
    segment = features.sum(axis=0)
    for phi, value in zip(features, v):
        w, gamma = write_weights(rule, phi @ normaliser, phi @ segment)
        new_memory += phi[:, None] * (value - w * (phi @ memory))
        new_normaliser += gamma * phi
    return new_memory, new_normaliser


def write_backward(memory, normaliser, k, v, rule, d_new_memory, d_new_normaliser):
    """d_memory, d_normaliser, d_k and d_v of write."""
    d_memory, d_normaliser = d_new_memory.copy(), d_new_normaliser.copy()
    features = sigma(k)
    segment, d_segment = features.sum(axis=0), np.zeros_like(normaliser)
    d_features, d_v = np.zeros_like(k), np.zeros_like(v)
    for t, phi in enumerate(features):
        overlap, within, product = phi @ normaliser, phi @ segment, phi @ memory
        w, gamma = write_weights(rule, overlap, within)
        d_v[t] = phi @ d_new_memory  # also the gradient of value - w product
        d_product = -w * d_v[t]
        d_overlap, d_within = write_weights_backward(rule, overlap, within, -(d_v[t] @ product), d_new_normaliser @ phi)
        d_memory += np.outer(phi, d_product)
        d_normaliser += d_overlap * phi
        d_segment += d_within * phi
        d_features[t] = (d_new_memory @ (v[t] - w * product) + memory @ d_product + gamma * d_new_normaliser
                         + d_overlap * normaliser + d_within * segment)
    d_features += d_segment
    return d_memory, d_normaliser, d_features * sigma_slope(k), d_v


def attend(q, keys, values):
    """Softmax attention of one query [D] to keys and values [U, D]: output and probabilities."""
    scores = keys @ q / len(q) ** 0.5
    weights = np.exp(scores - scores.max())
    probabilities = weights / weights.sum()
    return probabilities @ values, probabilities


def attend_backward(q, keys, values, d_out):
    """d_q, d_keys and d_values of attend."""
    _, probabilities = attend(q, keys, values)
    d_probabilities = values @ d_out
    d_scores = probabilities * (d_probabilities - probabilities @ d_probabilities) / len(q) ** 0.5
    return d_scores @ keys, np.outer(d_scores, q), np.outer(probabilities, d_out)


# ------------------------------------------------------------------------------------------------------ one document


class Document:
    """The tokens q, k, v of one document that continue `state`: what forward and backward both need."""

    def __init__(self, q, k, v, options, state):
        self.options, self.state = options, state
        self.q, self.q_features, self.num_kept = q, sigma(q), len(state.keys)
        self.keys, self.values = np.concatenate([state.keys, k]), np.concatenate([state.values, v])  # [U, G, D]
        self.q_positions = state.position + np.arange(len(q))
        self.k_positions = state.position - self.num_kept + np.arange(len(self.keys))
        self.rotated_q = rotate(q, self.q_positions, options.inverse_frequencies)
        self.rotated_keys = rotate(self.keys, self.k_positions, options.inverse_frequencies)
        # By the number of segments written: [G, D, D] and [G, D].
        self.first_memory = options.segments_written(state.index)
        self.last_memory = options.segments_written(state.index + len(q))
        self.memories = {self.first_memory: (state.memory, state.normaliser)}
        for segment in range(self.first_memory, self.last_memory):
            rows = self.rows_of(segment)
            memory, normaliser = self.memories[segment]
            written = [write(memory[g], normaliser[g], self.keys[rows, g], self.values[rows, g], options.rule)
                       for g in range(k.shape[1])]
            self.memories[segment + 1] = tuple(np.stack(heads) for heads in zip(*written))

    def row_of(self, index):
        """Row of the token at `index` of the document in keys and values."""
        return index - (self.state.index - self.num_kept)

    def rows_of(self, segment):
        tokens = self.options.segment_tokens
        return slice(self.row_of(segment * tokens), self.row_of((segment + 1) * tokens))

    def past_of(self, t):
        """For query t: how many segments its memory holds, and the rows of the tokens that it sees."""
        index = self.state.index + t
        written = self.options.segments_written(index)
        return written, slice(self.row_of(written * self.options.segment_tokens), self.row_of(index + 1))

    def final_state(self):
        index = self.state.index + len(self.q)
        memory, normaliser = self.memories[self.last_memory]
        first = self.row_of(self.last_memory * self.options.segment_tokens)
        return State(memory, normaliser, self.keys[first:], self.values[first:], index,
                     self.state.position + len(self.q))


def document_forward(document, beta):
    tokens, heads, dim = document.q.shape
    share = heads // document.keys.shape[1]
    out, local, read = (np.zeros((tokens, heads, dim)) for _ in range(3))
    denominator, gates = np.zeros((tokens, heads)), sigmoid(beta)
    for t in range(tokens):
        written, seen = document.past_of(t)
        memory, normaliser = document.memories[written]
        for n in range(heads):
            g = n // share
            local[t, n], _ = attend(document.rotated_q[t, n], document.rotated_keys[seen, g], document.values[seen, g])
            if written == 0:  # nothing to read: the gate has no part
                out[t, n] = local[t, n]
                continue
            read[t, n], denominator[t, n] = recall(memory[g], normaliser[g], document.q_features[t, n])
            out[t, n] = gates[n] * read[t, n] + (1 - gates[n]) * local[t, n]
    return {"out": out, "local": local, "read": read, "denominator": denominator}


def document_backward(document, beta, d_out, d_final):
    """Gradients by q, k, v, beta and the state that the document continues; d_final is that of its final state."""
    tokens, heads, dim = document.q.shape
    kv_heads, options = document.keys.shape[1], document.options
    share = heads // kv_heads
    d_q_features, d_rotated_q = np.zeros_like(document.q), np.zeros_like(document.q)
    d_rotated_keys, d_keys, d_values = (np.zeros_like(document.keys) for _ in range(3))
    d_beta = np.zeros(heads)
    d_memory = {m: np.zeros((kv_heads, dim, dim)) for m in document.memories}
    d_normaliser = {m: np.zeros((kv_heads, dim)) for m in document.memories}

    if d_final is not None:
        d_memory[document.last_memory] += d_final.memory
        d_normaliser[document.last_memory] += d_final.normaliser
        d_keys[len(d_keys) - len(d_final.keys):] += d_final.keys
        d_values[len(d_keys) - len(d_final.values):] += d_final.values

    forward = document_forward(document, beta)
    for t in range(tokens):
        written, seen = document.past_of(t)
        memory, normaliser = document.memories[written]
        for n in range(heads):
            g = n // share
            d_local = d_out[t, n]
            if written > 0:
                gate = sigmoid(beta[n])
                d_local, d_read = (1 - gate) * d_out[t, n], gate * d_out[t, n]
                d_beta[n] += gate * (1 - gate) * (d_out[t, n] @ (forward["read"][t, n] - forward["local"][t, n]))
                by_read = recall_backward(memory[g], normaliser[g], document.q_features[t, n], d_read)
                d_memory[written][g] += by_read[0]
                d_normaliser[written][g] += by_read[1]
                d_q_features[t, n] += by_read[2]
            by_local = attend_backward(document.rotated_q[t, n], document.rotated_keys[seen, g],
                                       document.values[seen, g], d_local)
            d_rotated_q[t, n] += by_local[0]
            d_rotated_keys[seen, g] += by_local[1]
            d_values[seen, g] += by_local[2]

    # The writes, last first: by then every read of the memory behind the write has added its part.
    for segment in reversed(range(document.first_memory, document.last_memory)):
        rows = document.rows_of(segment)
        memory, normaliser = document.memories[segment]
        for g in range(kv_heads):
            by_write = write_backward(memory[g], normaliser[g], document.keys[rows, g], document.values[rows, g],
                                      options.rule, d_memory[segment + 1][g], d_normaliser[segment + 1][g])
            d_memory[segment][g] += by_write[0]
            d_normaliser[segment][g] += by_write[1]
            d_keys[rows, g] += by_write[2]
            d_values[rows, g] += by_write[3]

    d_q = d_q_features * sigma_slope(document.q)
    d_q += rotate(d_rotated_q, -document.q_positions, options.inverse_frequencies)
    d_keys += rotate(d_rotated_keys, -document.k_positions, options.inverse_frequencies)
    kept, first = document.num_kept, document.first_memory
    constant = first == 0  # the empty memory is no variable
    d_state = State(np.zeros((kv_heads, dim, dim)) if constant else d_memory[first],
                    np.zeros((kv_heads, dim)) if constant else d_normaliser[first], d_keys[:kept], d_values[:kept])
    return {"d_q": d_q, "d_k": d_keys[kept:], "d_v": d_values[kept:], "d_beta": d_beta}, d_state


# -------------------------------------------------------------------------------------------------------- a sequence


def documents_of(q, k, v, offsets, options, state):
    """The documents of a sequence. The first continues `state`, or is new; the others are new."""
    start = empty_state(k.shape[1], k.shape[2]) if state is None else state
    for first, last in zip(offsets[:-1], offsets[1:]):
        here = start if first == 0 else empty_state(k.shape[1], k.shape[2], start.position + int(first))
        yield slice(first, last), Document(q[first:last], k[first:last], v[first:last], options, here)


def infini_forward(q, k, v, beta, offsets, options, state=None):
    """out, local (softmax alone), read (memory alone, 0 where it is empty), its denominator, and the final state of
    the last document. `state` is what an earlier call on the tokens before gave; where a document starts with this call
    too, empty_state at its position."""
    parts = []
    for _, document in documents_of(q, k, v, offsets, options, state):
        parts.append(document_forward(document, beta))
        final = document.final_state()
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, final


def infini_backward(q, k, v, beta, offsets, options, d_out, state=None, d_final=None):
    """d_q, d_k, d_v, d_beta for d_out, and the gradient of `state`; d_final is the gradient of the final state, which
    the backward of the tokens behind gave."""
    result = {"d_q": np.zeros_like(q), "d_k": np.zeros_like(k), "d_v": np.zeros_like(v), "d_beta": np.zeros_like(beta)}
    d_state = None
    for tokens, document in documents_of(q, k, v, offsets, options, state):
        is_last = tokens.stop == offsets[-1]
        part, d_start = document_backward(document, beta, d_out[tokens], d_final if is_last else None)
        for name in ("d_q", "d_k", "d_v"):
            result[name][tokens] = part[name]
        result["d_beta"] += part["d_beta"]
        d_state = d_start if tokens.start == 0 else d_state
    return result, d_state


def memory_states(k, v, options):
    """One document: the memory [G,D,D] and normaliser [G,D] after 0, 1, 2, ... of its whole segments."""
    every = dataclasses.replace(options, window_segments=0)
    document = Document(np.zeros((len(k), 1, k.shape[2])), k, v, every, empty_state(k.shape[1], k.shape[2]))
    return [document.memories[m] for m in range(document.last_memory + 1)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input")
    parser.add_argument("output")
    parser.add_argument("--rule", choices=RULES, default="linear")
    parser.add_argument("--segment-tokens", type=int, required=True)
    parser.add_argument("--window-segments", default="0", help="a number, or all")
    arguments = parser.parse_args()

    names = ("q", "k", "v", "beta", "d_out", "document_offsets", "inverse_frequencies")
    files = {name: os.path.join(arguments.input, name + ".npy") for name in names}
    tensors = {name: np.load(file).astype(np.float64) for name, file in files.items() if os.path.exists(file)}
    offsets = [int(x) for x in tensors.get("document_offsets", [0, len(tensors["q"])])]
    window = ALL if arguments.window_segments == "all" else int(arguments.window_segments)
    options = Options(arguments.segment_tokens, window, arguments.rule, tensors.get("inverse_frequencies", np.zeros(0)))
    inputs = [tensors[name] for name in ("q", "k", "v", "beta")]
    result, final = infini_forward(*inputs, offsets, options)
    result.update(memory=final.memory, normaliser=final.normaliser)
    if "d_out" in tensors:
        result.update(infini_backward(*inputs, offsets, options, tensors["d_out"])[0])
    os.makedirs(arguments.output, exist_ok=True)
    for name, value in result.items():
        np.save(os.path.join(arguments.output, name + ".npy"), np.ascontiguousarray(value))


if __name__ == "__main__":
    main()

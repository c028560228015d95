# SPDX-License-Identifier: Apache-2.0
"""Infini-attention's definition (infini.py) against values from paper, a closed form, attention.py and central
differences. What its rules promise has a test of its own, infini_rules_test.py."""
import dataclasses
import itertools
import unittest

import numpy as np

import attention
import infini
from infini import ALL, RULES, Options, State

WINDOWS = (0, 1, 3, ALL)
# With ALL nothing is ever written: the rules are one.
CASES = [(rule, window) for rule in RULES for window in WINDOWS if window != ALL or rule == "delta_corrected"]
ROUNDING = 1e-12  # sums of at most some hundred terms of size 1 to 10 in fp64
FREQUENCIES = np.array([1.0, 0.3])
# Lengths in tokens of segments of 3: ragged, shorter than one, whole, one token, ragged with a long past.
OFFSETS = [0, 8, 10, 16, 17, 34]
HEADS, KV_HEADS, DIM = 4, 2, 4


@dataclasses.dataclass
class Case:
    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    beta: np.ndarray
    d_out: np.ndarray

    @property
    def inputs(self):
        return self.q, self.k, self.v, self.beta


def random_case(tokens=OFFSETS[-1], seed=1):
    """Keys of which few features are large, so that delta_corrected meets new, partly known and known ones."""
    random = np.random.default_rng(seed)
    return Case(random.standard_normal((tokens, HEADS, DIM)), 2.5 * random.standard_normal((tokens, KV_HEADS, DIM)) - 1,
                random.standard_normal((tokens, KV_HEADS, DIM)), random.standard_normal(HEADS),
                random.standard_normal((tokens, HEADS, DIM)))


def options_of(rule, window, tokens=3, frequencies=FREQUENCIES):
    return Options(tokens, window, rule, frequencies)


def sees_by_softmax(offsets, tokens, window):
    """[S, S]: the definition once more, by pairs."""
    place = [(document, (i - first) // tokens) for document, (first, last) in enumerate(zip(offsets, offsets[1:]))
             for i in range(first, last)]
    return np.array([[j <= i and place[i][0] == place[j][0] and place[i][1] - place[j][1] <= window
                      for j in range(len(place))] for i in range(len(place))])


def softmax_attention(case, options, seen, d_out=None):
    positions = np.arange(len(case.q))
    q, k = (infini.rotate(x, positions, options.inverse_frequencies) for x in (case.q, case.k))
    return attention.attention(q, k, case.v, d_out, seen, 1 / np.sqrt(DIM))


class OracleTest(unittest.TestCase):
    def assert_close(self, actual, expected, tolerance=ROUNDING):
        self.assertEqual(np.shape(actual), np.shape(expected))
        error = np.abs(np.asarray(actual) - expected)
        self.assertLessEqual(error.max() if error.size else 0.0, tolerance * max(1.0, np.abs(expected).max()))


class InfiniAttention(OracleTest):
    def test_gives_the_values_of_a_calculation_on_paper(self):
        # One feature, segments of one token, window 0: local attention is v itself; sigma(0) = 1, sigma(1) = 2.
        # Reads 3, then (M, z) = linear (13, 3), delta (3 + 2 (5 - 3), 3), delta_corrected (3 + 2 (5 - 6/4), 2).
        k, v = (np.array(x)[:, None, None] for x in ([0.0, 1.0, 0.0], [3.0, 5.0, 7.0]))
        beta = np.array([np.log(1 / 3)])  # gate 1/4
        for rule, third in (("linear", 13 / 3), ("delta", 7 / 3), ("delta_corrected", 10 / 2)):
            result, final = infini.infini_forward(0 * k, k, v, beta, [0, 3], Options(1, 0, rule))
            self.assert_close(result["read"][:, 0, 0], [0, 3, third])
            self.assert_close(result["out"][:, 0, 0], [3, 3 / 4 + 15 / 4, third / 4 + 21 / 4])
            self.assertEqual((final.index, final.position, len(final.keys)), (3, 3, 0))

    def test_gives_the_states_of_a_calculation_on_paper(self):
        # One feature, segments of two tokens, features 1 1, 1 2, 1 1. delta_corrected: the second segment has c = 2, 4
        # and e = 3, 6, so w = 1/3, 1/6 and gamma = 1/3: (M, z) = (4 + 21 - 4 (1/3 + 4/6), 2 + 3/3). The third has c = 3
        # and e = 2: w = 1/3, gamma 0: (21 + 5 - 2 * 21/3, 3).
        k, v = (np.array(x)[:, None, None] for x in ([0.0, 0, 0, 1, 0, 0], [1.0, 3, 5, 8, 1, 4]))
        for rule, states in (("linear", [(4, 2), (25, 5), (30, 7)]), ("delta", [(4, 2), (19, 5), (16.4, 7)]),
                             ("delta_corrected", [(4, 2), (21, 3), (12, 3)])):
            actual = [(m[0, 0, 0], z[0, 0]) for m, z in infini.memory_states(k, v, Options(2, 0, rule))]
            self.assert_close(actual, [(0, 0)] + states)

    def test_meets_new_and_partly_known_and_known_keys(self):
        case, met = random_case(), []
        for first, last in zip(OFFSETS, OFFSETS[1:]):
            k, v = case.k[first:last], case.v[first:last]
            states = infini.memory_states(k, v, options_of("delta_corrected", 0))
            for segment, (_, z) in enumerate(states[:-1]):
                for t, g in itertools.product(range(3), range(KV_HEADS)):
                    phi = infini.sigma(k[3 * segment + t, g])
                    segment_sum = infini.sigma(k[3 * segment:3 * segment + 3, g]).sum(axis=0)
                    met.append(1 - phi @ z[g] / (phi @ segment_sum))
        met = np.array(met)
        self.assertGreaterEqual((met == 1).sum(), 6)
        self.assertGreaterEqual(((met > 0) & (met < 1)).sum(), 6)
        self.assertGreaterEqual((met < 0).sum(), 6)
        # Central differences must not step over the kink, where c = e.
        self.assertGreater(np.abs(met).min(), 1e-2)

    def test_equals_softmax_attention_when_the_window_is_all(self):
        case = random_case()
        for rule, window in itertools.product(RULES, (ALL, 7)):  # the longest document has 6 segments
            options = options_of(rule, window)
            expected = softmax_attention(case, options, attention.visible(OFFSETS[-1], True, 0, OFFSETS), case.d_out)
            result, final = infini.infini_forward(*case.inputs, OFFSETS, options)
            gradients, _ = infini.infini_backward(*case.inputs, OFFSETS, options, case.d_out)
            self.assert_close(result["out"], expected["out"])
            self.assert_close(gradients["d_v"], expected["d_v"])
            for name in ("d_q", "d_k"):
                rotated = infini.rotate(gradients[name], np.arange(OFFSETS[-1]), FREQUENCIES)
                self.assert_close(rotated, expected[name])
            self.assertFalse(gradients["d_beta"].any() or final.memory.any() or final.normaliser.any())

    def test_linear_rule_equals_its_closed_form(self):
        # A read is the mean of the values that softmax does not see, weighted by psi . phi.
        case, share = random_case(), HEADS // KV_HEADS
        for window in WINDOWS:
            options = options_of("linear", window)
            seen = sees_by_softmax(OFFSETS, 3, window)
            past = attention.visible(OFFSETS[-1], True, 0, OFFSETS) & ~seen
            local = softmax_attention(case, options, seen)["out"]
            result, _ = infini.infini_forward(*case.inputs, OFFSETS, options)
            self.assert_close(result["local"], local)
            for n in range(HEADS):
                kernel = past * (infini.sigma(case.q[:, n]) @ infini.sigma(case.k[:, n // share]).T)
                total = kernel.sum(axis=1, keepdims=True)
                reads = past.any(axis=1)
                summed = kernel @ case.v[:, n // share]
                mean = np.divide(summed, total, out=np.zeros_like(summed), where=total > 0)
                gate = reads[:, None] / (1 + np.exp(-case.beta[n]))
                self.assert_close(result["read"][:, n], mean)
                self.assert_close(result["denominator"][:, n], total[:, 0])
                self.assert_close(result["out"][:, n], gate * mean + (1 - gate) * local[:, n])

    def test_documents_together_equal_each_alone(self):
        case = random_case()
        for rule, window in CASES:
            options = options_of(rule, window)
            together, final = infini.infini_forward(*case.inputs, OFFSETS, options)
            gradients, _ = infini.infini_backward(*case.inputs, OFFSETS, options, case.d_out)
            d_beta = np.zeros(HEADS)
            for first, last in zip(OFFSETS, OFFSETS[1:]):
                inputs = [x[first:last] for x in (case.q, case.k, case.v)] + [case.beta]
                alone, alone_final = infini.infini_forward(*inputs, [0, last - first], options)
                part, _ = infini.infini_backward(*inputs, [0, last - first], options, case.d_out[first:last])
                self.assert_close(together["out"][first:last], alone["out"])  # positions differ: angles round apart
                for name in ("d_q", "d_k", "d_v"):
                    self.assert_close(gradients[name][first:last], part[name])
                d_beta += part["d_beta"]
            self.assert_close(gradients["d_beta"], d_beta)
            self.assertTrue(np.array_equal(final.memory, alone_final.memory))
            self.assertEqual(final.index, OFFSETS[-1] - OFFSETS[-2])

    def test_token_changes_no_bit_of_outputs_before_it(self):
        case = random_case()
        for rule, window in CASES:
            options = options_of(rule, window)
            before, _ = infini.infini_forward(*case.inputs, [0, len(case.q)], options)
            for t in (0, 9, 25):
                q, k, v = (x.copy() for x in (case.q, case.k, case.v))
                for x in (q, k, v):
                    x[t] += 0.5
                after, _ = infini.infini_forward(q, k, v, case.beta, [0, len(case.q)], options)
                self.assertTrue(np.array_equal(before["out"][:t], after["out"][:t]))
                self.assertFalse(np.array_equal(before["out"][t], after["out"][t]))
                # And what it may change it does, in every later token: by softmax or through the memory.
                self.assertTrue((before["out"][t:] != after["out"][t:]).any(axis=(1, 2)).all())

    def test_grouped_heads_equal_repeated_keys(self):
        case, share = random_case(), HEADS // KV_HEADS
        for rule, window in itertools.product(RULES, (0, 1)):
            options = options_of(rule, window)
            repeated = [case.q] + [np.repeat(x, share, axis=1) for x in (case.k, case.v)] + [case.beta]
            expected, _ = infini.infini_forward(*repeated, OFFSETS, options)
            d_expected, _ = infini.infini_backward(*repeated, OFFSETS, options, case.d_out)
            result, _ = infini.infini_forward(*case.inputs, OFFSETS, options)
            gradients, _ = infini.infini_backward(*case.inputs, OFFSETS, options, case.d_out)
            self.assert_close(result["out"], expected["out"])
            for name in ("d_k", "d_v"):
                summed = d_expected[name].reshape(-1, KV_HEADS, share, DIM).sum(axis=2)
                self.assert_close(gradients[name], summed)

    def test_sequence_cut_anywhere_equals_the_whole(self):
        case, tokens = random_case(), OFFSETS[-1]
        for rule, window in CASES:
            options = options_of(rule, window)
            whole, end = infini.infini_forward(*case.inputs, [0, tokens], options)
            expected, _ = infini.infini_backward(*case.inputs, [0, tokens], options, case.d_out)
            for cuts in ([0, 18, tokens], [0, 1, 2, 9, 12, tokens], [0, 7, 14, 21, 28, tokens]):
                starts, pieces = [None], []
                for first, last in zip(cuts, cuts[1:]):
                    piece = (case.q[first:last], case.k[first:last], case.v[first:last], case.beta, [0, last - first])
                    result, state = infini.infini_forward(*piece, options, starts[-1])
                    self.assertTrue(np.array_equal(result["out"], whole["out"][first:last]))
                    self.assertLess(len(state.keys), 3 * (window + 1))
                    starts.append(state)
                    pieces.append((piece, slice(first, last)))
                self.assertTrue(np.array_equal(state.memory, end.memory))
                self.assertTrue(np.array_equal(state.normaliser, end.normaliser))
                # Backward through the pieces, last first.
                d_state, d_beta = None, np.zeros(HEADS)
                totals = {name: np.zeros_like(expected[name]) for name in ("d_q", "d_k", "d_v")}
                for (piece, rows), start in reversed(list(zip(pieces, starts))):
                    part, d_state = infini.infini_backward(*piece, options, case.d_out[rows], start, d_state)
                    for name in totals:
                        totals[name][rows] = part[name]
                    d_beta += part["d_beta"]
                for name in totals:
                    self.assert_close(totals[name], expected[name])
                self.assert_close(d_beta, expected["d_beta"])

    def test_documents_cut_within_one_equal_the_whole(self):
        case, cut = random_case(), 13  # in the third document, of which a segment is complete
        for rule, window in itertools.product(RULES, (0, 1)):
            options = options_of(rule, window)
            whole, end = infini.infini_forward(*case.inputs, OFFSETS, options)
            expected, _ = infini.infini_backward(*case.inputs, OFFSETS, options, case.d_out)
            head = [x[:cut] for x in case.inputs[:3]] + [case.beta, [0, 8, 10, 13], options]
            tail = [x[cut:] for x in case.inputs[:3]] + [case.beta, [0, 3, 4, 21], options]
            first, state = infini.infini_forward(*head)
            second, final = infini.infini_forward(*tail, state)
            self.assertTrue(np.array_equal(np.concatenate([first["out"], second["out"]]), whole["out"]))
            self.assertTrue(np.array_equal(final.memory, end.memory))
            d_second, d_state = infini.infini_backward(*tail, case.d_out[cut:], state)
            d_first, _ = infini.infini_backward(*head, case.d_out[:cut], None, d_state)
            for name in ("d_q", "d_k", "d_v"):
                self.assert_close(np.concatenate([d_first[name], d_second[name]]), expected[name])
            self.assert_close(d_first["d_beta"] + d_second["d_beta"], expected["d_beta"])

    def test_underflowed_denominator_reads_nothing_and_has_no_gradient(self):
        case = random_case(9)
        k = np.full_like(case.k, -1000.0)  # sigma is 0 in fp64
        for rule in RULES:
            self.assertEqual(infini.write_weights(rule, 0.0, 0.0), (0.0, 1.0))
            options = options_of(rule, 0)
            result, final = infini.infini_forward(case.q, k, case.v, case.beta, [0, 9], options)
            gradients, _ = infini.infini_backward(case.q, k, case.v, case.beta, [0, 9], options, case.d_out)
            gate = 1 / (1 + np.exp(-case.beta))[:, None]
            self.assertFalse(result["read"].any() or final.memory.any() or final.normaliser.any())
            self.assert_close(result["out"][3:], (1 - gate) * result["local"][3:])
            self.assertTrue(all(np.isfinite(gradient).all() for gradient in gradients.values()))


class Gradients(unittest.TestCase):
    """Five-point central differences of the forward. A random direction weighs every entry of a tensor at once."""
    STEP, TOLERANCE = 1e-3, 1e-8

    def difference(self, objective, tensor, direction):
        saved, at = tensor.copy(), {}
        for k in (-2, -1, 1, 2):
            tensor[...] = saved + k * self.STEP * direction
            at[k] = objective()
        tensor[...] = saved
        return (8 * (at[1] - at[-1]) - (at[2] - at[-2])) / (12 * self.STEP)

    def check(self, objective, tensors, gradients, what):
        random = np.random.default_rng(5)
        for name, tensor in tensors.items():
            if tensor.size == 0:
                continue
            # Of length about 1 in all, so that no key steps over a kink of sigma or of the clip.
            direction = random.standard_normal(tensor.shape) / np.sqrt(tensor.size)
            expected = self.difference(objective, tensor, direction)
            actual = (direction * gradients[name]).sum()
            scale = max(abs(expected), np.sqrt((gradients[name] ** 2).mean()))  # what chance makes of such a sum
            self.assertLessEqual(abs(actual - expected), self.TOLERANCE * scale, f"{what}: {name}")

    def test_equal_central_differences_for_every_rule_and_window(self):
        case = random_case()
        rotated, plain = FREQUENCIES, np.zeros(0)
        for rule, window, frequencies in [*((*both, rotated) for both in CASES), ("delta", 1, plain)]:
            options = options_of(rule, window, frequencies=frequencies)
            objective = lambda: (case.d_out * infini.infini_forward(*case.inputs, OFFSETS, options)[0]["out"]).sum()
            gradients, _ = infini.infini_backward(*case.inputs, OFFSETS, options, case.d_out)
            tensors = {"d_q": case.q, "d_k": case.k, "d_v": case.v, "d_beta": case.beta}
            self.check(objective, tensors, gradients, f"{rule}, window {window}, {len(frequencies)} frequencies")

    def test_of_a_write_equal_central_differences(self):
        # Through M and z apart; by size of z new keys and known ones, also in a segment that repeats one.
        random = np.random.default_rng(9)
        keys = 2 * random.standard_normal((5, DIM)) - 1
        segments = {"one token": keys[:1], "five tokens": keys, "repeated": keys[[0, 1, 0, 0, 2]]}
        for (what, k), rule, size in itertools.product(segments.items(), RULES, (0.2, 1.0, 3.0)):
            k, z = k.copy(), size * infini.sigma(2 * random.standard_normal((3, DIM))).sum(axis=0)
            memory, v = random.standard_normal((DIM, DIM)), random.standard_normal(k.shape)
            features = infini.sigma(k)
            ratio = (features @ z) / (features @ features.sum(axis=0))
            self.assertGreater(np.abs(ratio - 1).min(), 2e-2)  # no step over the kink
            tensors = {"memory": memory, "normaliser": z, "k": k, "v": v}
            for weights in ((random.standard_normal(memory.shape), 0 * z), (0 * memory, random.standard_normal(DIM))):
                objective = lambda: sum((a * b).sum() for a, b in zip(weights, infini.write(memory, z, k, v, rule)))
                gradients = dict(zip(tensors, infini.write_backward(memory, z, k, v, rule, *weights)))
                self.check(objective, tensors, gradients, f"{rule}, {what}, {size}")

    def test_of_the_state_equal_central_differences(self):
        whole = random_case()
        for rule, window in itertools.product(RULES, (0, 1, ALL)):
            options = options_of(rule, window)
            head = [x[:16] for x in (whole.q, whole.k, whole.v)] + [whole.beta]
            tail = [x[16:29] for x in (whole.q, whole.k, whole.v)] + [whole.beta]
            d_out, random = whole.d_out[16:29], np.random.default_rng(6)
            _, state = infini.infini_forward(*head, [0, 16], options)
            _, final = infini.infini_forward(*tail, [0, 13], options, state)
            d_final = State(*(random.standard_normal(x.shape)
                              for x in (final.memory, final.normaliser, final.keys, final.values)))

            def objective():
                result, end = infini.infini_forward(*tail, [0, 13], options, state)
                pairs = [(d_out, result["out"]), (d_final.memory, end.memory), (d_final.normaliser, end.normaliser),
                         (d_final.keys, end.keys), (d_final.values, end.values)]
                return sum((a * b).sum() for a, b in pairs)

            gradients, d_state = infini.infini_backward(*tail, [0, 13], options, d_out, state, d_final)
            gradients.update(memory=d_state.memory, normaliser=d_state.normaliser, keys=d_state.keys,
                             values=d_state.values)
            tensors = {"d_q": tail[0], "d_k": tail[1], "d_v": tail[2], "d_beta": tail[3], "keys": state.keys,
                       "values": state.values}
            if options.segments_written(state.index) > 0:  # the empty memory is no variable
                tensors.update(memory=state.memory, normaliser=state.normaliser)
            self.check(objective, tensors, gradients, f"{rule}, window {window}")


if __name__ == "__main__":
    unittest.main()

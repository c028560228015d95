# SPDX-License-Identifier: Apache-2.0
"""The rules by which segments are written into Infini-attention's memory (infini.py), by what they promise: closed
forms, what is read of equal values and rewritten keys, and that delta_corrected never expands."""
import itertools
import unittest

import numpy as np

import infini
from infini import RULES, Options
from infini_test import DIM, HEADS, KV_HEADS, OFFSETS, ROUNDING, WINDOWS, OracleTest, options_of, random_case


def armt_write(memory, normaliser, k, v):
    """One segment as Rodkin et al. write it (arXiv 2407.04841), without their gate: gamma = 1 - c / |phi|^2, clipped,
    of each token alone."""
    features = infini.sigma(k)
    overlap = (features @ normaliser)[:, None]
    recalled = np.divide(features @ memory, overlap, out=np.zeros_like(v), where=overlap > 0)
    squared = (features**2).sum(axis=1, keepdims=True)
    gamma = np.clip(1 - np.divide(overlap, squared, out=np.zeros_like(overlap), where=squared > 0), 0, 1)
    return memory + features.T @ (v - recalled), normaliser + (gamma * features).sum(axis=0)


def one_key_a_segment(segments, tokens, dim, scale, shift):
    """Keys and values of segments that repeat one key each, another one every time."""
    random = np.random.default_rng(1)
    for _ in range(segments):
        key = scale * random.standard_normal(dim) + shift
        yield np.tile(key, (tokens, 1)), random.standard_normal((tokens, dim))


def segments_to_write(dim=8):
    """Pairs of a normaliser and a segment's keys: random, repeated and made to break a bound."""
    random, pairs = np.random.default_rng(8), []
    for tokens, scale, size in itertools.product((1, 3, 16), (0.5, 2.0, 5.0), (-9, -2, 0, 1, 2, 9)):
        old = infini.sigma(scale * random.standard_normal((tokens, dim)))
        pairs.append((10.0**size * old.sum(axis=0), scale * random.standard_normal((tokens, dim))))
    for tokens, shift in itertools.product((1, 2, 16), (0, -3)):
        k = 2.5 * random.standard_normal((tokens, dim)) + shift
        repeated, features = np.tile(k[0], (tokens, 1)), infini.sigma(k)
        one_key = np.concatenate([repeated, k[1:]])
        # Known once, hardly, doubly; the segment's own sum, where c = e; what has nothing of the largest features.
        for z in (features[0], 1e-6 * features[0], 2 * features.sum(axis=0)):
            pairs += [(z, repeated), (z, one_key), (z, k)]
        pairs += [(features.sum(axis=0), k), (features.sum(axis=0), repeated), (tokens * features[0], repeated),
                  (np.where(k[0] > 0, 0, features[0]), repeated), (np.where(k[0] > 0, 0, features[0]), k),
                  (features[0], np.where(np.eye(dim, dtype=bool)[np.arange(tokens) % dim], k, -1000.0)),
                  (features[0], np.concatenate([k, np.full((1, dim), 50.0)]))]
    return pairs


class WriteRules(OracleTest):
    def test_delta_rules_are_affine_in_the_memory(self):
        case = random_case()
        for rule in ("delta", "delta_corrected"):
            states = infini.memory_states(case.k, case.v, options_of(rule, 0))
            self.assertEqual(len(states), 1 + OFFSETS[-1] // 3)
            for s, g in itertools.product(range(1, len(states) - 1), range(KV_HEADS)):
                rows = slice(3 * s, 3 * s + 3)
                (memory, z), phi = states[s], infini.sigma(case.k[rows, g])
                overlap, within = phi @ z[g], (phi @ phi.T).sum(axis=1)
                divisor = overlap if rule == "delta" else np.maximum(overlap, within)
                transition = np.eye(DIM) - phi.T @ np.diag(1 / divisor) @ phi
                self.assert_close(states[s + 1][0][g], transition @ memory[g] + phi.T @ case.v[rows, g])
                # A z_old = 2 z_old - z_new, and z_new = A z_old + u.
                expected = 2 * z[g] - states[s + 1][1][g] if rule == "delta" else states[s + 1][1][g] - phi.sum(axis=0)
                self.assert_close(transition @ z[g], expected)

    def test_delta_rule_maps_the_normaliser_as_its_identity_says(self):
        # A memory whose columns are all z, written with values 0, is A z = 2 z_old - z_new.
        case, z = random_case(), np.array([0.5, 2.0, 1.0, 3.0])
        memory, new_z = infini.write(np.outer(z, np.ones(DIM)), z, case.k[:9, 0], 0 * case.v[:9, 0], "delta")
        self.assert_close(memory, np.outer(2 * z - new_z, np.ones(DIM)))

    def test_constant_stream_reads_its_value_and_under_delta_half_of_it(self):
        # After one segment every rule reads v. After s >= 2 delta reads v/2: M is s/2, z is s times that of the first.
        random = np.random.default_rng(3)
        key, value, tokens = random.standard_normal(DIM), random.standard_normal(DIM), 5 * 6
        k, v = np.tile(key, (tokens, 1, 1)), np.tile(value, (tokens, 1, 1))
        q = random.standard_normal((tokens, 1, DIM))
        for rule, later in (("linear", 1.0), ("delta", 0.5), ("delta_corrected", 1.0)):
            result, _ = infini.infini_forward(q, k, v, np.zeros(1), [0, tokens], options_of(rule, 0, 5))
            read = result["read"][:, 0]
            self.assert_close(read[5:10], np.tile(value, (5, 1)))
            self.assert_close(read[10:], np.tile(later * value, (tokens - 10, 1)))

    def test_rewritten_key_reads_the_mixture_of_its_values(self):
        # One key, m writes of one token. linear reads the mean, delta sum (j-1)/(m-1) v_j / m, delta_corrected v_m.
        values = np.random.default_rng(4).standard_normal((6, DIM))
        k, v = np.ones((6, 1, DIM)), values[:, None, :]
        for rule, m in itertools.product(RULES, range(2, 7)):
            memory, z = infini.memory_states(k[:m], v[:m], Options(1, 0, rule))[-1]
            read, _ = infini.recall(memory[0], z[0], np.ones(DIM))
            weights = {"linear": np.ones(m) / m, "delta": np.arange(m) / (m - 1) / m,
                       "delta_corrected": np.arange(m) // (m - 1)}[rule]
            self.assert_close(read, weights @ values[:m])

    def test_delta_corrected_rule_is_never_expansive(self):
        # Writing values 0 into the identity gives A = I - P, P = sum w phi^T phi >= 0. P u = sum (w e) phi <= u, so no
        # eigenvalue of P is above 1 (Collatz-Wielandt).
        largest = {}
        for rule in ("delta", "delta_corrected"):
            largest[rule] = []
            for z, k in segments_to_write():
                transition, new_z = infini.write(np.eye(len(z)), z, k, np.zeros_like(k), rule)
                self.assert_close(transition, transition.T)
                largest[rule].append(np.linalg.eigvalsh(np.eye(len(z)) - transition)[[0, -1]])
                if rule == "delta" and (z > 0).all():  # P z = z' - z, so the same theorem bounds delta too
                    rho = (new_z / z).max() - 1
                    self.assertLessEqual(largest[rule][-1][1], rho * (1 + ROUNDING))
                    self.assertLessEqual(np.linalg.norm(transition, 2), max(1, rho - 1) * (1 + ROUNDING))
        corrected, delta = np.array(largest["delta_corrected"]), np.array(largest["delta"])
        self.assertGreaterEqual(corrected.min(), -ROUNDING)
        self.assertLessEqual(corrected.max(), 1 + ROUNDING)
        self.assertGreater((corrected[:, 1] > 0.99).sum(), 20)  # the bound is reached
        self.assertGreater((delta[:, 1] > 2.01).sum(), 20)  # where delta expands: A has an eigenvalue below -1

    def test_delta_corrected_rule_corrects_a_repeated_key_at_most_once(self):
        # ARMT's gamma stands still once z knows the key, but each of the L tokens corrects M by the whole error: it
        # becomes 1 - L |phi|^2 / (phi . z) times what it was.
        key, L = np.array([3.0, -9.0, -9.0, -9.0]), 4
        k, v = np.tile(key, (6 * L, 1, 1)), np.ones((6 * L, 1, DIM))
        k[1:L, 0], v[1:L], v[0] = np.roll(key, 2), 3.0, 2.0  # the first segment has the key once, thrice another one
        phi = infini.sigma(key)
        states = infini.memory_states(k, v, Options(L, 0, "delta_corrected"))[1:]
        errors = [infini.recall(m[0], z[0], phi)[0][0] - 1 for m, z in states]
        self.assertGreater(errors[0], 0.9)
        self.assert_close(errors[1:], np.zeros(5))

        memory, z = states[0][0][0], states[0][1][0]
        factor = 1 - L * (phi @ phi) / (phi @ z)
        self.assertLess(factor, -2.9)
        for m in range(6):
            self.assert_close(infini.recall(memory, z, phi)[0][0] - 1, errors[0] * factor**m)
            memory, z = armt_write(memory, z, k[L:2 * L, 0], v[L:2 * L, 0])

    def test_delta_corrected_rule_is_bounded_where_the_gamma_of_each_token_diverges(self):
        for segments, tokens, scale, shift in ((410, 16, 2.5, -1), (180, 32, 2, -4)):
            states = {write: (np.zeros((64, 64)), np.zeros(64)) for write in ("corrected", "armt")}
            largest_value = largest_read = 0.0
            for k, v in one_key_a_segment(segments, tokens, 64, scale, shift):
                states["armt"] = armt_write(*states["armt"], k, v)
                (memory, z), phi, mean = states["corrected"], infini.sigma(k[0]), v.mean(axis=0)
                before, overlap = infini.recall(memory, z, phi)
                states["corrected"] = infini.write(memory, z, k, v, "delta_corrected")
                after, _ = infini.recall(*states["corrected"], phi)
                # The key's value moves towards the mean of the new ones, never past it.
                within = tokens * (phi @ phi)
                self.assert_close(after, before + within / max(overlap, within) * (mean - before))
                norms = [np.linalg.norm(x) for x in (states["corrected"][0], memory, np.outer(phi, tokens * mean))]
                self.assertLessEqual(norms[0], (norms[1] + norms[2]) * (1 + ROUNDING))
                largest_value = max(largest_value, np.abs(v).max())
                largest_read = max(largest_read, np.abs(before).max(), np.abs(after).max())
            self.assertGreater(np.abs(states["armt"][0]).max(), 1e18)
            self.assertLess(largest_read, largest_value)  # no theorem: these reads are

    def test_equal_values_are_read_whatever_the_keys(self):
        # M = z v^T after every write: where all values are v, phi M is c v, so M grows by sum (1 - w c) phi^T v.
        value = np.array([1.0, -2.0, 0.5, 3.0])
        differs = []
        for rule in RULES:
            memory, z = np.zeros((8, DIM)), np.zeros(8)
            for _, k in segments_to_write():
                memory, z = infini.write(memory, z, k, np.tile(value, (len(k), 1)), rule)
                error = np.abs(memory - np.outer(z, value)).max() / np.abs(np.outer(z, value)).max()
                differs.append(error) if rule == "delta" else self.assertLess(error, ROUNDING)
        self.assertGreater(max(differs), 0.1)

        case = random_case()
        for rule, window in itertools.product(("linear", "delta_corrected"), WINDOWS):
            inputs = [case.q, case.k, np.tile(value, (len(case.q), KV_HEADS, 1)), case.beta]
            result, _ = infini.infini_forward(*inputs, OFFSETS, options_of(rule, window))
            self.assert_close(result["out"], np.tile(value, (len(case.q), HEADS, 1)))
            reads = result["denominator"] > 0
            self.assertEqual(reads.any(), window < 6)
            self.assert_close(result["read"], reads[:, :, None] * value)

    def test_one_token_with_an_equal_or_orthogonal_key_is_written_as_by_armt(self):
        random = np.random.default_rng(7)
        supports = np.array([[1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 1, 0], [0, 0, 0, 0, 0, 1]])
        keys = np.where(supports, 2 * random.standard_normal((3, 6)), -1000.0)  # sigma of the rest is 0
        ours = armts = np.zeros((6, 6)), np.zeros(6)
        for which in random.integers(3, size=12):
            k, v = keys[which][None], random.standard_normal((1, 6))
            ours, armts = infini.write(*ours, k, v, "delta_corrected"), armt_write(*armts, k, v)
            self.assert_close(ours[0], armts[0])
            self.assert_close(ours[1], armts[1])
        # The normaliser for any keys. The memory not: ARMT takes off all that it reads with a key known in part.
        ours = armts = np.zeros((6, 6)), np.zeros(6)
        for _ in range(12):
            k, v = random.standard_normal((1, 6)), random.standard_normal((1, 6))
            ours, armts = infini.write(*ours, k, v, "delta_corrected"), armt_write(*armts, k, v)
            self.assert_close(ours[1], armts[1])
        self.assertGreater(np.abs(ours[0] - armts[0]).max(), 0.1)


if __name__ == "__main__":
    unittest.main()

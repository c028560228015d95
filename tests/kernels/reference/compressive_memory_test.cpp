// SPDX-License-Identifier: Apache-2.0
#include "kernels/compressive_memory.hpp"

#include <cmath>
#include <gtest/gtest.h>
#include <utility>

#include "kernels/reference/backend.hpp"
#include "tests/support/compressive_memory.hpp"
#include "tests/support/gradient.hpp"

namespace rondo::test {
namespace {

constexpr MemoryRule kRules[] = {MemoryRule::Linear, MemoryRule::Delta, MemoryRule::DeltaCorrected};

class CompressiveMemory : public testing::Test {
 protected:
  std::unique_ptr<Backend> backend = make_reference_backend(cpu_device());
  Host host;
};

// Three segments of 4 written one after the other, 13 queries, 2 query heads a key head.
MemoryProblem small_problem(MemoryRule rule) {
  return MemoryProblem::random(DType::Fp64, rule, whole_segments(4, 3, 13), 4, 2, 3, 1, DType::Fp64);
}

TEST_F(CompressiveMemory, ReadsTheWeightedMeanOfWhatWasWritten) {
  // One segment of two keys: sigma(k) = 2 and 1, sigma(q) = 3. n = 3 (2 + 1), read = 3 (2 * 5 + 1 * 8) / 9 = 6.
  MemoryProblem p(DType::Fp64, MemoryRule::Linear, whole_segments(2, 1, 3), 1, 1, 1);
  for (const auto& [tensor, values] : {std::pair{&p.k, std::vector<double>{1, 0}}, {&p.v, {5, 8}}, {&p.q, {2, 2, 2}}}) {
    for (std::size_t i = 0; i < values.size(); ++i) tensor->set(static_cast<std::int64_t>(i), values[i]);
  }
  p.forward(*backend, host);
  EXPECT_EQ(p.read[0], 0);  // nothing was written before the first segment's own queries
  EXPECT_EQ(p.read_normaliser[0], 0);
  EXPECT_DOUBLE_EQ(p.read[2], 6);
  EXPECT_DOUBLE_EQ(p.read_normaliser[2], 9);
}

TEST_F(CompressiveMemory, KeepsTheFeatureOfAVeryNegativeKey) {
  MemoryProblem p(DType::Fp32, MemoryRule::Linear, whole_segments(1, 1, 2), 1, 1, 1);
  p.k.set(0, -18);
  p.v.set(0, 3);
  p.forward(*backend, host);
  EXPECT_NEAR(p.read_normaliser[1], std::exp(-18.0), 1e-6 * std::exp(-18.0));
  EXPECT_NEAR(p.read[1], 3, 1e-6);
}

TEST_F(CompressiveMemory, AnswersAConstantStreamAsItsRulePromises) {
  // The same key and value throughout: linear reads v; delta writes nothing new into M while z grows, so the read shrinks;
  // the corrected rule stops z too.
  const auto last_read = [&](MemoryRule rule) {
    MemoryProblem p(DType::Fp64, rule, whole_segments(1, 4, 5), 1, 1, 1);
    for (std::int64_t i = 0; i < 4; ++i) p.k.set(i, 0.5), p.v.set(i, 7);
    p.forward(*backend, host);
    return p.read[4];
  };
  EXPECT_DOUBLE_EQ(last_read(MemoryRule::Linear), 7);
  EXPECT_DOUBLE_EQ(last_read(MemoryRule::DeltaCorrected), 7);
  // M: 7 phi, then + phi (7 - 7) = 7 phi, then z = 2 phi: retrieved 3.5, + 3.5 phi, then z = 3 phi: retrieved 3.5 again.
  EXPECT_DOUBLE_EQ(last_read(MemoryRule::Delta), 14.0 / 4);
}

TEST_F(CompressiveMemory, TheDeltaRuleMeetsItsIdentity) {
  // (1 - decay) z = 2 z_before - z_behind for one segment (facts that follow from P z = z_behind - z_before).
  MemoryProblem p =
      MemoryProblem::random(DType::Fp64, MemoryRule::Delta, whole_segments(4, 1, 4), 4, 2, 3, 1, DType::Fp64);
  p.decay = Tensor(DType::Fp64, {2, 3, 3});
  p.z = Tensor::filled(DType::Fp64, {2, 3}, 1.5);
  const Tensor before = p.z.copy();
  p.forward(*backend, host);
  for (std::int64_t g = 0; g < 2; ++g) {
    for (std::int64_t i = 0; i < 3; ++i) {
      double decayed = 0;
      for (std::int64_t j = 0; j < 3; ++j) decayed += p.decay[(g * 3 + i) * 3 + j] * before[g * 3 + j];
      EXPECT_NEAR(before[g * 3 + i] - decayed, 2 * before[g * 3 + i] - p.z[g * 3 + i], 1e-12);
    }
  }
}

TEST_F(CompressiveMemory, TheCorrectedRuleReadsAValueThatAllKeysHaveExactly) {
  MemoryProblem p = small_problem(MemoryRule::DeltaCorrected);
  p.v = Tensor::filled(DType::Fp64, p.v.shape(), 5);
  p.forward(*backend, host);
  for (std::int64_t t = 4; t < 13; ++t) {
    for (std::int64_t i = 0; i < 4 * 3; ++i) EXPECT_NEAR(p.read[t * 12 + i], 5, 1e-12);
  }
}

TEST_F(CompressiveMemory, TheCorrectedRuleNeverEnlargesWhatIsStored) {
  // Many copies of a key that is known already: token by token each would be corrected in full, 16 times too much.
  MemoryProblem p(DType::Fp64, MemoryRule::DeltaCorrected, whole_segments(16, 40, 641), 1, 1, 1);
  for (std::int64_t i = 0; i < p.k.count(); ++i) p.k.set(i, i < 16 ? -3 : 2), p.v.set(i, i % 2 == 0 ? 1 : -1);
  p.forward(*backend, host);
  for (std::int64_t t = 16; t < 641; ++t) EXPECT_LE(std::abs(p.read[t]), 1);
}

TEST_F(CompressiveMemory, ARunIsAnAffineMapOfTheStateBeforeIt) {
  for (const MemoryRule rule : {MemoryRule::Delta, MemoryRule::DeltaCorrected}) {
    MemoryProblem from_zero = small_problem(rule), from_state = small_problem(rule);
    for (MemoryProblem* p : {&from_zero, &from_state}) p->z = Tensor::filled(DType::Fp64, {2, 3}, 0.7);
    from_zero.decay = Tensor(DType::Fp64, {2, 3, 3});
    from_state.m = Tensor::random(DType::Fp64, {2, 3, 3}, 9);
    const Tensor before = from_state.m.copy();
    from_zero.forward(*backend, host);
    from_state.forward(*backend, host);
    for (std::int64_t g = 0; g < 2; ++g) {
      for (std::int64_t i = 0; i < 3; ++i) {
        for (std::int64_t j = 0; j < 3; ++j) {
          double expected = from_zero.m[(g * 3 + i) * 3 + j] + before[(g * 3 + i) * 3 + j];
          for (std::int64_t x = 0; x < 3; ++x) {
            expected -= from_zero.decay[(g * 3 + i) * 3 + x] * before[(g * 3 + x) * 3 + j];
          }
          EXPECT_NEAR(from_state.m[(g * 3 + i) * 3 + j], expected, 1e-12);
        }
      }
    }
  }
}

// What 200,000 segments take away of a state is about 1 / s of it for the s-th: 1 - P in fp32 would be 1.
TEST_F(CompressiveMemory, FoldsADecayFarBelowTheRoundingOfOne) {
  constexpr std::int64_t kDim = 4;
  constexpr int kFolds = 100'000;
  Tensor state = Tensor::random(DType::Fp64, {1, kDim, kDim}, 1), decay(DType::Fp32, {1, kDim, kDim});
  const Tensor before = state.copy(), nothing(DType::Fp32, {1, kDim, kDim});
  for (std::int64_t i = 0; i < kDim; ++i) decay.set(i * kDim + i, 1e-9 * static_cast<double>(i + 1));
  for (int fold = 0; fold < kFolds; ++fold) {
    backend->memory_fold(*host.stream, {.state = state, .decay = decay, .added = nothing});
  }
  for (std::int64_t i = 0; i < kDim; ++i) {
    const double left = std::exp(kFolds * std::log1p(-decay[i * kDim + i]));
    for (std::int64_t j = 0; j < kDim; ++j) EXPECT_NEAR(state[i * kDim + j], left * before[i * kDim + j], 1e-11);
  }
}

TEST_F(CompressiveMemory, AResetForgetsEverything) {
  for (const MemoryRule rule : kRules) {
    MemoryProblem p = small_problem(rule);
    p.schedule.steps[2].is_reset = true;
    p.forward(*backend, host);
    EXPECT_EQ(p.read_normaliser[8], 0);
    EXPECT_EQ(p.read[8 * 4 * 3], 0);
    EXPECT_GT(p.read_normaliser[12], 0);
  }
}

TEST_F(CompressiveMemory, ItsGradientsAreThoseOfCentralDifferences) {
  for (const MemoryRule rule : kRules) {
    for (const bool has_reset : {false, true}) {
      SCOPED_TRACE(static_cast<int>(rule));
      MemoryProblem p = small_problem(rule);
      p.schedule.steps[1].is_reset = has_reset;
      p.m_before = Tensor::random(DType::Fp64, {2, 3, 3}, 5);
      p.z_before = Tensor::filled(DType::Fp64, {2, 3}, 0.9);
      const auto objective = [&] { return p.objective(*backend, host); };
      objective();
      p.backward(*backend, host);
      expect_gradient("q", objective, p.q, p.d_q);
      expect_gradient("k", objective, p.k, p.d_k);
      expect_gradient("v", objective, p.v, p.d_v);
      expect_gradient("m", objective, p.m_before, p.d_m);
      expect_gradient("z", objective, p.z_before, p.d_z);
    }
  }
}

TEST_F(CompressiveMemory, FindsTheShareOfItsReadsInTheGradientOfM) {
  for (const MemoryRule rule : kRules) {
    MemoryProblem p = small_problem(rule);
    p.objective(*backend, host);
    p.m_seed = Tensor(DType::Fp64, p.m_seed.shape());
    p.backward(*backend, host);
    const Tensor whole = p.d_m.copy();
    p.backward_of_m_alone(*backend, host);
    EXPECT_LE(max_difference(whole, p.d_m), 1e-13);
  }
}

TEST_F(CompressiveMemory, RefusesStepsWithARowInCommon) {
  MemoryProblem twice_written = small_problem(MemoryRule::Linear), twice_read = small_problem(MemoryRule::Linear);
  twice_written.schedule.steps[1].first_key = 3;
  twice_read.schedule.steps[2].first_query = 7;
  EXPECT_ANY_THROW(twice_written.forward(*backend, host));
  EXPECT_ANY_THROW(twice_read.forward(*backend, host));
}

TEST_F(CompressiveMemory, TheGateMixesWhatWasReadWithWhatIsLocal) {
  const Tensor local(DType::Fp64, {2, 1, 2}, {1, 2, 3, 4}), read(DType::Fp64, {2, 1, 2}, {0, 0, 7, 9}),
      normaliser(DType::Fp64, {1, 2}, {0, 5}), gate(DType::Fp64, {1}, {std::log(3.0)});  // g = 3/4
  Tensor out(DType::Fp64, {2, 1, 2});
  backend->memory_gate_forward(*host.stream, {local, {read, normaliser}, gate, out});
  EXPECT_EQ(out[0], 1);  // nothing was read: local alone
  EXPECT_EQ(out[1], 2);
  EXPECT_DOUBLE_EQ(out[2], 0.75 * 7 + 0.25 * 3);
  EXPECT_DOUBLE_EQ(out[3], 0.75 * 9 + 0.25 * 4);
}

TEST_F(CompressiveMemory, TheGatesGradientsAreThoseOfCentralDifferences) {
  Tensor local = Tensor::random(DType::Fp64, {5, 2, 3}, 1), read = Tensor::random(DType::Fp64, {5, 2, 3}, 2),
         gate = Tensor::random(DType::Fp64, {2}, 3);
  Tensor normaliser = Tensor::filled(DType::Fp64, {2, 5}, 1);
  normaliser.set(0, 0);
  const Tensor d_out = Tensor::random(DType::Fp64, {5, 2, 3}, 4);
  Tensor out(DType::Fp64, {5, 2, 3}), d_local(DType::Fp64, {5, 2, 3}), d_read(DType::Fp64, {5, 2, 3}),
      d_gate(DType::Fp64, {2});
  const auto objective = [&] {
    backend->memory_gate_forward(*host.stream, {local, {read, normaliser}, gate, out});
    return dot(out, d_out);
  };
  backend->memory_gate_backward(*host.stream, {local, {read, normaliser}, gate, d_out, d_local, d_read, d_gate});
  expect_gradient("local", objective, local, d_local);
  expect_gradient("read", objective, read, d_read);
  expect_gradient("gate", objective, gate, d_gate);
}

}  // namespace
}  // namespace rondo::test

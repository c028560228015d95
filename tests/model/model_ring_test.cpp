// SPDX-License-Identifier: Apache-2.0
// Losses and gradients of the whole model depend neither on the number of ranks of the ring nor on the layout.
#include <cmath>
#include <gtest/gtest.h>

#include "tests/model/tiny_model.hpp"
#include "tests/support/mpi_world.hpp"

namespace rondo {
namespace {

// For sums of some hundred terms in another order, in fp64; relative to the largest entry of a tensor.
constexpr double kTolerance = 1e-12;

double largest_of(const test::Tensor& tensor) {
  double largest = 0;
  for (std::int64_t i = 0; i < tensor.count(); ++i) largest = std::max(largest, std::abs(tensor[i]));
  return largest;
}

void expect_equal_to_one_rank(const Communicator& group, LayoutKind layout, const test::ModelCase& c) {
  test::TestExecution alone(Communicator::self()), together(group);
  test::TinyModel whole(alone.get(), c, LayoutKind::Contiguous, DType::Fp64);
  test::TinyModel shard(together.get(), c, layout, DType::Fp64);
  whole.forward_backward();
  shard.forward_backward();
  for (std::int64_t t = 0; t < shard.span().num_tokens(); ++t) {
    EXPECT_NEAR(shard.losses()[t], whole.losses()[shard.span().runs().global_of(t)], kTolerance);
  }
  for (std::size_t p = 0; p < whole.parameters().parameters().size(); ++p) {
    const Parameter& expected = whole.parameters().parameters()[p];
    const test::Tensor expected_gradient = test::copy_of(expected.gradient);
    EXPECT_LE(test::max_difference(test::copy_of(shard.parameters().parameters()[p].gradient), expected_gradient),
              kTolerance * largest_of(expected_gradient))
        << expected.name;
  }
}

class ModelRing : public testing::TestWithParam<int> {};

TEST_P(ModelRing, GivesTheGradientsOfOneRankForEveryLayout) {
  if (test::world().size() < GetParam()) GTEST_SKIP() << "needs " << GetParam() << " ranks";
  test::with_ranks(GetParam(), [](const Communicator& group) {
    for (const LayoutKind layout : kLayoutKinds) {
      for (const test::ModelCase& c : test::tiny_cases()) {
        SCOPED_TRACE(c.name + ", " + std::string(name_of(layout)) + ", ranks: " + std::to_string(group.size()));
        expect_equal_to_one_rank(group, layout, c);
      }
    }
  });
}

TEST_P(ModelRing, GivesTheGradientsOfOneRankWithAMemory) {
  if (test::world().size() < GetParam()) GTEST_SKIP() << "needs " << GetParam() << " ranks";
  test::with_ranks(GetParam(), [](const Communicator& group) {
    for (const LayoutKind layout : {LayoutKind::Contiguous, LayoutKind::Zigzag, LayoutKind::BlockCyclic}) {
      for (const test::ModelCase& c : test::infini_cases()) {
        SCOPED_TRACE(c.name + ", " + std::string(name_of(layout)) + ", ranks: " + std::to_string(group.size()));
        expect_equal_to_one_rank(group, layout, c);
      }
    }
  });
}

void expect_causal(const Communicator& group, const test::ModelCase& c, LayoutKind layout, DType compute) {
  test::TestExecution execution(group);
  test::TinyModel model(execution.get(), c, layout, compute);
  const std::vector<std::int32_t> tokens = test::tokens_of(c), targets = test::targets_of(tokens, c.documents);
  model.evaluate();
  const test::Tensor before = test::copy_of(model.losses());
  for (const std::int64_t changed : {std::int64_t{3}, c.tokens / 2, c.tokens - 2}) {
    std::vector<std::int32_t> other = tokens;
    std::int32_t& token = other[static_cast<std::size_t>(changed)];
    token = (token + 1) % static_cast<std::int32_t>(c.shape.vocabulary);
    model.set_tokens(other, targets);
    model.evaluate();
    for (std::int64_t t = 0; t < model.span().num_tokens(); ++t) {
      const std::int64_t position = model.span().runs().global_of(t);
      if (position < changed) {
        EXPECT_EQ(model.losses()[t], before[t]) << position << " before " << changed;
      } else if (position == changed) {
        EXPECT_NE(model.losses()[t], before[t]) << position;
      }
    }
  }
}

// Causality for every ring: no bit of a loss depends on tokens after its target.
TEST_P(ModelRing, AChangedTokenLeavesAllBeforeItAlone) {
  if (test::world().size() < GetParam()) GTEST_SKIP() << "needs " << GetParam() << " ranks";
  test::with_ranks(GetParam(), [](const Communicator& group) {
    std::vector<test::ModelCase> cases = test::tiny_cases();
    for (const test::ModelCase& c : test::infini_cases()) cases.push_back(c);
    for (const test::ModelCase& c : cases) {
      for (const LayoutKind layout : {LayoutKind::Contiguous, LayoutKind::Zigzag, LayoutKind::BlockCyclic}) {
        for (const DType compute : {DType::Fp64, DType::Fp32}) {
          SCOPED_TRACE(c.name + ", " + std::string(name_of(layout)) + ", " + std::string(name_of(compute)) +
                       ", ranks: " + std::to_string(group.size()));
          expect_causal(group, c, layout, compute);
        }
      }
    }
  });
}

// A model of exact attention that gets a memory with closed gates equals the old model applied to each segment alone.
TEST_P(ModelRing, WithShutGatesIsTheExactModelOfEachSegment) {
  if (test::world().size() < GetParam()) GTEST_SKIP() << "needs " << GetParam() << " ranks";
  test::with_ranks(GetParam(), [](const Communicator& group) {
    for (const MemoryRule rule : {MemoryRule::Linear, MemoryRule::Delta, MemoryRule::DeltaCorrected}) {
      test::ModelCase with_memory = test::infini_cases()[0], exact = with_memory;
      with_memory.shape.segments.memory_rule = rule;
      exact.shape.attention = {LayerAttention::Exact};
      exact.rule = {.causal = true};
      for (std::int64_t first = 0; first < exact.tokens; first += 4) exact.documents.push_back(first);
      exact.documents.push_back(exact.tokens);
      test::TestExecution execution(group);
      test::TinyModel old(execution.get(), exact, LayoutKind::Contiguous, DType::Fp64);
      test::TinyModel model(execution.get(), with_memory, LayoutKind::Contiguous, DType::Fp64);
      for (const Parameter& parameter : model.parameters().parameters()) {
        if (!parameter.is_gate) continue;
        for (double& gate : parameter.value.span<double>()) gate = -1e4;
      }
      const std::vector<std::int32_t> tokens = test::tokens_of(exact);
      old.set_tokens(tokens, test::targets_of(tokens, {}));  // also across the ends of segments
      old.evaluate();
      model.evaluate();
      EXPECT_LE(test::max_difference(model.losses(), old.losses()), kTolerance) << "ranks: " << group.size();
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Ranks, ModelRing, testing::Values(1, 2, 3, 4, 5, 8));

TEST(ModelRing, TakesAsFewTokensAsRanks) {
  const Communicator all = test::world();
  test::ModelCase c{"one token per rank", test::tiny_shape(), all.size(), {.causal = true}, {}};
  for (const LayoutKind layout : kLayoutKinds) {
    expect_equal_to_one_rank(all, layout, c);
  }
}

}  // namespace
}  // namespace rondo

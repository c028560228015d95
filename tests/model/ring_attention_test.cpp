// SPDX-License-Identifier: Apache-2.0
// For every number of ranks, layout and mask, the ring gives the results of one rank that holds the whole sequence.
#include "model/ring_attention.hpp"

#include <cmath>
#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "core/random.hpp"
#include "tests/support/execution.hpp"
#include "tests/support/mpi_world.hpp"

namespace rondo {
namespace {

struct Case {
  std::int64_t tokens, heads, kv_heads, head_dim;
  AttentionMask::Rule rule;
  std::vector<std::int64_t> documents;
  std::string name;
};

std::vector<Case> cases() {
  return {
      {37, 2, 2, 4, {.causal = true}, {}, "causal"},
      {37, 2, 2, 4, {.causal = false}, {}, "full"},
      {41, 4, 1, 3, {.causal = true}, {}, "causal, 4 heads a key head"},
      {29, 8, 1, 2, {.causal = false}, {}, "full, 8 heads a key head"},
      {64, 2, 1, 4, {.causal = true, .window = 5}, {}, "window of 5"},
      {64, 2, 1, 4, {.causal = true, .window = 1}, {}, "window of 1"},
      {64, 2, 1, 4, {.causal = true, .window = 23}, {0, 11, 40, 64}, "window over documents"},
      {53, 2, 1, 4, {.causal = true}, {0, 1, 2, 20, 21, 40, 53}, "documents"},
      {53, 2, 2, 4, {.causal = false}, {0, 26, 27, 53}, "full, documents"},
      {8, 1, 1, 2, {.causal = true}, {}, "one token per rank"},
      {9, 1, 1, 2, {.causal = true}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, "documents of one token"},
  };
}

// A tensor whose values depend on its name and the global position only, restricted to the rows of a shard.
class Rows {
 public:
  Rows(const std::string& name, const TokenRuns& runs, std::int64_t heads, std::int64_t dim)
      : values_(static_cast<std::size_t>(runs.num_tokens() * heads * dim)), shape_{runs.num_tokens(), heads, dim} {
    const CounterRandom random(7, stream_of(name));
    for (std::int64_t local = 0; local < runs.num_tokens(); ++local) {
      for (std::int64_t i = 0; i < heads * dim; ++i) {
        values_[static_cast<std::size_t>(local * heads * dim + i)] =
            random.normal(static_cast<std::uint64_t>(runs.global_of(local) * heads * dim + i));
      }
    }
  }
  static Rows zeros(const Shape& shape) {
    Rows rows;
    rows.shape_ = shape;
    rows.values_.assign(static_cast<std::size_t>(shape.count()), 0.0);
    return rows;
  }
  TensorView view() { return {values_.data(), DType::Fp64, shape_}; }

 private:
  Rows() = default;
  std::vector<double> values_;
  Shape shape_;
};

struct Result {
  Rows out, lse, d_q, d_k, d_v;
};

Result run(Execution& execution, const Case& c, LayoutKind kind) {
  const int ranks = execution.ring.size();
  const Span span(SequenceLayout(c.tokens, ranks, kind), c.rule, execution.ring.rank(), c.documents);
  const std::int64_t T = span.num_tokens();
  Rows q("q", span.runs(), c.heads, c.head_dim), d_out("d_out", span.runs(), c.heads, c.head_dim);
  Rows k("k", span.runs(), c.kv_heads, c.head_dim), v("v", span.runs(), c.kv_heads, c.head_dim);
  Result r{Rows::zeros({T, c.heads, c.head_dim}), Rows::zeros({c.heads, T}), Rows::zeros({T, c.heads, c.head_dim}),
           Rows::zeros({T, c.kv_heads, c.head_dim}), Rows::zeros({T, c.kv_heads, c.head_dim})};
  const SoftmaxCarry carry{r.out.view(), r.lse.view()};
  RingAttention ring(execution, 1.0 / std::sqrt(static_cast<double>(c.head_dim)));
  RingAttention::empty_carry(execution, carry);
  ring.forward(span, q.view(), {k.view(), v.view()}, carry);
  ring.backward(span, q.view(), {k.view(), v.view()},
                {carry, d_out.view(), r.d_q.view(), {r.d_k.view(), r.d_v.view()}});
  return r;
}

// Largest difference between the rows of a shard and the same rows of the whole; NaN if one of them is. `axis`: of the tokens.
double difference(TensorView shard, TensorView whole, const TokenRuns& runs, int axis) {
  double largest = 0;
  const std::int64_t others = shard.count() / runs.num_tokens();
  for (std::int64_t local = 0; local < runs.num_tokens(); ++local) {
    for (std::int64_t i = 0; i < others; ++i) {
      const std::int64_t global = runs.global_of(local);
      const std::int64_t mine = axis == 0 ? local * others + i : i * runs.num_tokens() + local;
      const std::int64_t theirs = axis == 0 ? global * others + i : i * whole.shape[1] + global;
      const double apart = std::abs(shard.as<double>()[mine] - whole.as<double>()[theirs]);
      if (std::isnan(apart)) return apart;  // std::max would drop it
      largest = std::max(largest, apart);
    }
  }
  return largest;
}

void expect_equal_to_one_rank(const Communicator& group, LayoutKind kind) {
  test::TestExecution one(Communicator::self()), many(group);
  for (const Case& c : cases()) {
    if (c.tokens < group.size()) continue;
    SCOPED_TRACE(c.name + ", " + std::string(name_of(kind)) + ", ranks: " + std::to_string(group.size()));
    Result whole = run(one.get(), c, LayoutKind::Contiguous);
    Result shard = run(many.get(), c, kind);
    const TokenRuns runs = SequenceLayout(c.tokens, group.size(), kind).runs(group.rank());
    constexpr double kTolerance = 1e-12;  // fp64, sums of at most 64 terms in another order
    EXPECT_LE(difference(shard.out.view(), whole.out.view(), runs, 0), kTolerance);
    EXPECT_LE(difference(shard.lse.view(), whole.lse.view(), runs, 1), kTolerance);
    EXPECT_LE(difference(shard.d_q.view(), whole.d_q.view(), runs, 0), kTolerance);
    EXPECT_LE(difference(shard.d_k.view(), whole.d_k.view(), runs, 0), kTolerance);
    EXPECT_LE(difference(shard.d_v.view(), whole.d_v.view(), runs, 0), kTolerance);
  }
}

class RingAttentionTest : public testing::TestWithParam<int> {};

TEST_P(RingAttentionTest, MatchesOneRankForEveryLayoutAndMask) {
  if (test::world().size() < GetParam()) GTEST_SKIP() << "needs " << GetParam() << " ranks";
  test::with_ranks(GetParam(), [](const Communicator& group) {
    for (LayoutKind kind : kLayoutKinds) {
      expect_equal_to_one_rank(group, kind);
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Ranks, RingAttentionTest, testing::Values(1, 2, 3, 4, 5, 8));

TEST(RingAttention, SendsNothingThatNobodyNeeds) {
  // Documents that end at shard boundaries: no rank attends to remote keys, so nothing is sent.
  const Communicator all = test::world();
  test::TestExecution execution(all);
  std::vector<std::int64_t> documents;
  for (int rank = 0; rank <= all.size(); ++rank) documents.push_back(4 * rank);
  const Case c{4 * all.size(), 1, 1, 2, {.causal = true}, documents, "aligned documents"};
  run(execution.get(), c, LayoutKind::Contiguous);
  EXPECT_EQ(execution.get().ring.transport.sent_bytes(), 0U);
}

TEST(RingAttention, SendsOnlyToTheNeighbourInsideAWindow) {
  const Communicator all = test::world();
  test::TestExecution execution(all);
  const Case c{8 * all.size(), 1, 1, 2, {.causal = true, .window = 4}, {}, "short window"};
  run(execution.get(), c, LayoutKind::Contiguous);
  const std::uint64_t key_value_bytes = 2 * 8 * 2 * sizeof(double);  // keys and values of 8 tokens
  const bool last = all.rank() == all.size() - 1, first = all.rank() == 0;
  // forward and backward send keys and values to the next rank; gradients return to the previous rank, their owner
  const std::uint64_t expected = (last ? 0 : 2 * key_value_bytes) + (first ? 0 : key_value_bytes);
  EXPECT_EQ(execution.get().ring.transport.sent_bytes(), all.size() == 1 ? 0 : expected);
}

}  // namespace
}  // namespace rondo

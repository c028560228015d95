// SPDX-License-Identifier: Apache-2.0
// A sequence in several spans gives the losses and gradients of one span, for any number of kept states.
#include "train/span_states.hpp"

#include <gtest/gtest.h>

#include "core/sequence_spans.hpp"
#include "tests/model/tiny_model.hpp"
#include "tests/support/mpi_world.hpp"

namespace rondo {
namespace {

TEST(StateSpacing, IsTheSmallestThatFits) {
  EXPECT_EQ(state_spacing(10, 9), 1);
  EXPECT_EQ(state_spacing(10, 8), 2);  // before spans 2, 4, 6, 8, and one inside a block
  EXPECT_EQ(state_spacing(10, 5), 2);
  EXPECT_EQ(state_spacing(2, 1), 1);
}

TEST(StateSpacing, NamesTheFewestStatesThatDo) {
  try {
    state_spacing(100, 17);
    FAIL() << "must be refused";
  } catch (const ConfigError& error) {
    EXPECT_NE(std::string(error.what()).find("at least 18 states"), std::string::npos) << error.what();
  }
  EXPECT_EQ(state_spacing(100, 18), 10);
}

TEST(SequenceSpans, CutASequenceWithoutAnEmptyShare) {
  for (const std::int64_t tokens : {7, 16, 17, 23, 24, 25}) {
    for (const std::int64_t span : {0, 1, 8, 100}) {
      for (const int ring : {1, 2, 5}) {
        const SequenceSpans spans(tokens, span, ring, LayoutKind::Contiguous);
        std::int64_t next = 0;
        for (std::int64_t i = 0; i < spans.count(); ++i) {
          EXPECT_EQ(spans.layout(i).first_position(), next);
          next = spans.layout(i).end_position();
          for (int rank = 0; rank < ring; ++rank) EXPECT_LE(spans.layout(i).num_tokens(rank), spans.most_tokens(rank));
        }
        EXPECT_EQ(next, tokens);
      }
    }
  }
}

struct Gradient {
  double loss = 0;
  std::vector<std::string> names;
  std::vector<test::Tensor> values;
};

Gradient gradient_of(const test::Tensor& loss, test::TinyModel& model) {
  Gradient gradient;
  gradient.loss = loss[0];
  for (const Parameter& parameter : model.parameters().parameters()) {
    gradient.names.push_back(parameter.name);
    gradient.values.push_back(test::copy_of(parameter.gradient));
  }
  return gradient;
}

// The gradient of the whole sequence, over all ranks.
Gradient in_one_span(Execution& e, const test::ModelCase& c) {
  test::TinyModel model(e, c, LayoutKind::Contiguous, DType::Fp64);
  test::Tensor loss(DType::Fp64, {1});
  loss.set(0, model.forward_backward());
  e.ring.transport.all_reduce(e.compute, loss, e.scratch);
  return gradient_of(loss, model);
}

Gradient in_spans(Execution& e, const test::ModelCase& c, std::int64_t span_tokens, std::int64_t most_states) {
  test::TinyModel model(e, c, LayoutKind::Contiguous, DType::Fp64);
  const std::vector<std::int32_t> tokens = test::tokens_of(c), targets = test::targets_of(tokens, c.documents);
  const SequenceSpans spans(c.tokens, span_tokens, e.ring.size(), LayoutKind::Contiguous);
  const auto with = [&](std::int64_t i, const std::function<void(const Span&, const TokenBatch&)>& work) {
    const Span span(spans.layout(i), c.rule, e.ring.rank(), c.documents, c.tokens);
    test::Tensor mine(DType::Int32, {span.num_tokens()}), wanted(DType::Int32, {span.num_tokens()});
    for (std::int64_t t = 0; t < span.num_tokens(); ++t) {
      const auto position = static_cast<std::size_t>(span.runs().global_of(t));
      mine.set(t, tokens[position]);
      wanted.set(t, targets[position]);
    }
    work(span, {mine, wanted});
  };
  model.parameters().zero_gradients();
  const std::int64_t state_bytes = model.model().make_state(c.tokens).size_bytes();
  SpanStates states(e, model.model(), spans.count(), c.tokens, most_states * state_bytes);
  test::Tensor loss(DType::Fp64, {1});
  states.walk(
      [&](std::int64_t i, SequenceFlow flow) {
        with(i, [&](const Span& span, const TokenBatch& batch) { model.model().advance(span, batch.tokens, flow); });
      },
      [&](std::int64_t i, const SequenceState* before, SequenceState* d_state) {
        with(i, [&](const Span& span, const TokenBatch& batch) {
          test::Tensor losses(DType::Fp64, {span.num_tokens()});
          model.model().forward_backward(span, batch, losses, before, d_state);
          for (std::int64_t t = 0; t < losses.count(); ++t) loss.set(0, loss[0] + losses[t]);
        });
      });
  e.ring.transport.all_reduce(e.compute, loss, e.scratch);
  e.ring.transport.all_reduce(e.compute, model.parameters().all_gradients(), e.scratch);
  return gradient_of(loss, model);
}

// The tolerance is relative to the largest entry of each tensor, so it is strict for the few numbers of the gates too.
void expect_equal(const Gradient& one, const Gradient& other) {
  EXPECT_NEAR(one.loss, other.loss, 1e-12 * one.loss);
  double largest = 0;
  for (std::size_t p = 0; p < one.values.size(); ++p) {
    double scale = 0;
    for (std::int64_t i = 0; i < one.values[p].count(); ++i) scale = std::max(scale, std::abs(one.values[p][i]));
    EXPECT_GT(scale, 0) << one.names[p];
    EXPECT_LE(test::max_difference(one.values[p], other.values[p]), 1e-10 * scale) << one.names[p];
    largest = std::max(largest, scale);
  }
  EXPECT_GT(largest, 0.1);
}

class SpanStatesRing : public testing::TestWithParam<int> {};

TEST_P(SpanStatesRing, GoThroughSeveralSpansAsThroughOne) {
  if (test::world().size() < GetParam()) GTEST_SKIP() << "needs " << GetParam() << " ranks";
  test::with_ranks(GetParam(), [](const Communicator& group) {
    test::TestExecution execution(group);
    for (const test::ModelCase& c : test::infini_cases()) {
      if (c.shape.attention.size() > 1) continue;  // exact layers are trained in one span
      const Gradient one = in_one_span(execution.get(), c);
      for (const std::int64_t span_tokens : {4, 8, 20}) {
        for (const std::int64_t most_states : {100, 5}) {
          SCOPED_TRACE(c.name + ", spans of " + std::to_string(span_tokens) + ", states " +
                       std::to_string(most_states));
          expect_equal(one, in_spans(execution.get(), c, span_tokens, most_states));
        }
      }
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Ranks, SpanStatesRing, testing::Values(1, 2, 3));

TEST(SpanStates, AreExactOverSixtyFourThousandTokens) {
  test::with_ranks(2, [](const Communicator& group) {
    test::TestExecution execution(group);
    for (const std::size_t index : {1, 2, 6}) {  // every rule, two of them with a window
      test::ModelCase c = test::infini_cases()[index];
      SCOPED_TRACE(c.name);
      c.tokens = 65536;
      if (index != 2) c.shape.layers = 1;
      if (!c.documents.empty()) c.documents = {0, 20001, c.tokens};
      c.rule.segment_tokens = c.shape.segments.segment_tokens = 64;
      expect_equal(in_one_span(execution.get(), c), in_spans(execution.get(), c, 8192, 4));
    }
  });
}

}  // namespace
}  // namespace rondo

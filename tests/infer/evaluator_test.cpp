// SPDX-License-Identifier: Apache-2.0
#include "infer/evaluator.hpp"

#include <cmath>
#include <gtest/gtest.h>
#include <map>
#include <numbers>
#include <string>
#include <utility>
#include <vector>

#include "tests/infer/small_model.hpp"
#include "tests/support/execution.hpp"
#include "tests/support/mpi_world.hpp"

namespace rondo {
namespace {

constexpr std::int64_t kSequence = 24;
// fp64, sums of about a hundred terms of order 1 in another order
constexpr double kTolerance = 1e-12;

std::string letters(std::size_t count, std::size_t seed) {
  std::string text;
  for (std::size_t i = 0; i < count; ++i) text += "ACGTN"[(i * i + seed * i + i / 3) % 5];
  return text;
}

// 106 letters: four sequences of 24 and one of 10.
std::vector<std::string> documents() { return {letters(40, 1), letters(1, 2), letters(7, 3), letters(58, 4)}; }

struct Bench {
  Bench(Communicator group, int ring, DType compute = DType::Fp64, const TransformerShape& shape = test::small_shape(5))
      : world(std::move(group)), grid(world, ring), execution(grid.ring()), model(execution.get(), shape, compute) {}

  EvaluationResult evaluate(const EvaluationData& data, const EvaluationOptions& options,
                            const std::function<void(const TokenLosses&)>& per_token = {}) {
    Evaluator evaluator(execution.get(), grid, model.transformer, data, options);
    return evaluator.run(per_token);
  }

  Communicator world;
  ProcessGrid grid;
  test::TestExecution execution;
  test::SmallModel model;
};

class EvaluatorTest : public testing::Test {
 protected:
  EvaluationData data(std::int64_t sequence_length = kSequence, bool isolate = true) const {
    return {corpus_, Split::Validation, sequence_length, isolate};
  }

  test::SmallCorpus file_{DnaTokenizer(), documents()};
  TokenCorpus corpus_{file_.path()};
};

void expect_same(const EvaluationResult& a, const EvaluationResult& b) {
  EXPECT_NEAR(a.loss, b.loss, kTolerance);
  EXPECT_EQ(a.num_targets, b.num_targets);
  EXPECT_EQ(a.num_units, b.num_units);
  EXPECT_EQ(a.num_sequences, b.num_sequences);
  EXPECT_EQ(a.num_tokens_left_out, b.num_tokens_left_out);
  ASSERT_EQ(a.by_position.size(), b.by_position.size());
  for (std::size_t i = 0; i < a.by_position.size(); ++i) {
    EXPECT_EQ(a.by_position[i].num_targets, b.by_position[i].num_targets) << i;
    EXPECT_NEAR(a.by_position[i].loss, b.by_position[i].loss, kTolerance) << i;
  }
}

TEST_F(EvaluatorTest, DoesNotDependOnRanksRingsAndLayouts) {
  struct Grid {
    int ranks, ring;
  };
  for (const bool isolate : {true, false}) {
    const EvaluationData text = data(kSequence, isolate);
    const EvaluationResult alone = Bench(Communicator::self(), 1).evaluate(text, {});
    EXPECT_EQ(alone.num_sequences, 5);
    for (const auto [ranks, ring] :
         {Grid{1, 1}, {2, 2}, {2, 1}, {3, 3}, {4, 4}, {4, 2}, {6, 2}, {8, 8}, {8, 4}, {8, 1}}) {
      if (test::world().size() < ranks) continue;
      test::with_ranks(ranks, [&, ring = ring](const Communicator& group) {
        Bench bench(group.split(0), ring);
        for (const LayoutKind layout : kLayoutKinds) {
          SCOPED_TRACE(std::to_string(group.size()) + " ranks, ring " + std::to_string(ring) + ", " +
                       std::string(name_of(layout)));
          expect_same(bench.evaluate(text, {.layout = layout}), alone);
        }
      });
    }
  }
}

TEST_F(EvaluatorTest, DoesNotDependOnSpans) {
  TransformerShape shape = test::small_shape(5);
  shape.attention = {LayerAttention::Infini};
  shape.segments = {.segment_tokens = 3, .window_segments = 1};
  const EvaluationOptions whole{.layout = LayoutKind::Contiguous,
                                .rule = {.causal = true, .segment_tokens = 3, .window_segments = 1}};
  const EvaluationResult alone = Bench(Communicator::self(), 1, DType::Fp64, shape).evaluate(data(), whole);
  for (const auto& [ranks, ring] : {std::pair{1, 1}, {2, 2}, {4, 2}}) {
    test::with_ranks(ranks, [&, ring = ring](const Communicator& group) {
      EvaluationOptions spans = whole;
      spans.span_tokens = 9;
      int calls = 0;
      expect_same(
          Bench(group.split(0), ring, DType::Fp64, shape).evaluate(data(), spans, [&](const TokenLosses&) { ++calls; }),
          alone);
      EXPECT_EQ(group.sum(calls), group.size() * group.max(calls)) << "a callback may be collective";
    });
  }
}

TEST_F(EvaluatorTest, EqualsALossComputedByHand) {
  // With the projections back to the residual stream zero, the model predicts from the last token alone:
  // logits(x) = head (e(x) / sqrt(mean(e(x)^2) + epsilon)), the final norm's weight being 1.
  Bench bench(test::world(), 0);
  std::map<std::string, const double*> weights;
  for (Parameter& parameter : bench.model.parameters.parameters()) {
    auto* values = parameter.value.as<double>();
    const bool is_zero = parameter.name.ends_with("attention_out") || parameter.name.ends_with("down");
    for (std::int64_t i = 0; i < parameter.value.count(); ++i) {
      if (is_zero) values[i] = 0;
      if (parameter.name == "final_norm") values[i] = 1;
    }
    weights[parameter.name] = values;
  }
  const TransformerShape shape = bench.model.transformer.shape();
  const auto loss_of = [&](std::int32_t token, std::int32_t target) {
    const std::int64_t C = shape.d_model;
    const double* e = weights["embedding"] + token * C;
    double mean_square = 0;
    for (std::int64_t c = 0; c < C; ++c) mean_square += e[c] * e[c] / static_cast<double>(C);
    double sum = 0, chosen = 0;
    for (std::int64_t v = 0; v < shape.vocabulary; ++v) {
      double logit = 0;
      for (std::int64_t c = 0; c < C; ++c) {
        logit += weights["head"][v * C + c] * e[c] / std::sqrt(mean_square + shape.norm_epsilon);
      }
      sum += std::exp(logit);
      if (v == target) chosen = logit;
    }
    return std::log(sum) - chosen;
  };

  double sum = 0;
  std::int64_t count = 0;
  for (const std::string& document : documents()) {
    const std::vector<std::int32_t> tokens = DnaTokenizer().encode(document);
    for (std::size_t i = 0; i + 1 < tokens.size(); ++i) {
      if (tokens[i + 1] == DnaTokenizer::kUnknown) continue;  // N is never a target
      sum += loss_of(tokens[i], tokens[i + 1]);
      ++count;
    }
  }
  const EvaluationResult result = bench.evaluate(data(), {});
  EXPECT_EQ(result.num_targets, count);
  EXPECT_EQ(result.num_units, count);
  EXPECT_NEAR(result.loss, sum / static_cast<double>(count), kTolerance);
  EXPECT_NEAR(result.perplexity(), std::exp(result.loss), 1e-9);
  EXPECT_NEAR(result.bits_per_unit(), result.loss / std::numbers::ln2, kTolerance) << "a base a token";
}

TEST_F(EvaluatorTest, GivesTokensWhoseSumIsTheLoss) {
  Bench bench(test::world(), test::world().size() % 2 == 0 ? 2 : 0);
  double sum = 0;
  std::int64_t count = 0, calls = 0;
  const EvaluationResult result = bench.evaluate(data(), {}, [&](const TokenLosses& part) {
    ++calls;
    ASSERT_EQ(part.losses.size(), static_cast<std::size_t>(part.runs.num_tokens()));
    for (std::int64_t local = 0; local < part.runs.num_tokens(); ++local) {
      const auto i = static_cast<std::size_t>(local);
      if (part.targets[i] == kNoTarget) continue;
      // the target is the next token of the split
      std::int32_t next = 0;
      corpus_.read_tokens(Split::Validation, part.sequence_first + part.runs.global_of(local) + 1, {&next, 1});
      EXPECT_EQ(part.targets[i], next);
      sum += part.losses[i];
      ++count;
    }
  });
  double total = 0;
  for (const double of_rank : test::world().all_gather(sum)) total += of_rank;
  EXPECT_EQ(test::world().sum(count), result.num_targets);
  EXPECT_NEAR(total / static_cast<double>(result.num_targets), result.loss, kTolerance);
  EXPECT_EQ(test::world().max(calls), calls) << "every rank is called equally often";
}

TEST_F(EvaluatorTest, SortsLossesByPosition) {
  const EvaluationResult result = Bench(test::world(), 0).evaluate(data(kSequence, false), {});
  ASSERT_EQ(result.by_position.size(), 6U);  // 0, 1, 2-3, 4-7, 8-15, 16-23
  std::int64_t expected_begin = 0, num_targets = 0;
  double sum = 0;
  for (const LossBucket& bucket : result.by_position) {
    EXPECT_EQ(bucket.first_position, expected_begin);
    expected_begin = bucket.end_position;
    num_targets += bucket.num_targets;
    sum += bucket.loss * static_cast<double>(bucket.num_targets);
  }
  EXPECT_EQ(result.by_position[4].first_position, 8);
  EXPECT_EQ(expected_begin, kSequence);
  EXPECT_EQ(num_targets, result.num_targets);
  EXPECT_NEAR(sum / static_cast<double>(num_targets), result.loss, kTolerance);
}

TEST_F(EvaluatorTest, LeavesOutWhatIsShorterThanTheRing) {
  // 106 = 5 * 21 + 1: the last token alone cannot be shared by two ranks
  const Communicator all = test::world();
  const EvaluationResult result = Bench(test::world(), 0).evaluate(data(21), {});
  EXPECT_EQ(result.num_tokens_left_out, all.size() > 1 ? 1 : 0);
  EXPECT_EQ(result.num_sequences, all.size() > 1 ? 5 : 6);
  // the last token has no target, so the loss is the same
  EXPECT_NEAR(result.loss, Bench(Communicator::self(), 1).evaluate(data(21), {}).loss, kTolerance);
}

TEST_F(EvaluatorTest, SpreadsFewerSequencesOverTheSplit) {
  std::map<std::int64_t, int> firsts;
  Bench bench(Communicator::self(), 1);
  const EvaluationResult result =
      bench.evaluate(data(10), {.max_sequences = 4}, [&](const TokenLosses& part) { ++firsts[part.sequence_first]; });
  EXPECT_EQ(result.num_sequences, 4);  // of 11
  EXPECT_EQ(firsts, (std::map<std::int64_t, int>{{0, 1}, {20, 1}, {50, 1}, {80, 1}}));
}

TEST_F(EvaluatorTest, GivesTheSameNumbersAgain) {
  Bench bench(test::world(), 0);
  Evaluator evaluator(bench.execution.get(), bench.grid, bench.model.transformer, data(), {});
  const EvaluationResult first = evaluator.run();
  const std::uint64_t allocations = bench.execution.device().memory().num_allocations();
  const EvaluationResult second = evaluator.run();
  EXPECT_EQ(first.loss, second.loss);
  EXPECT_EQ(bench.execution.device().memory().num_allocations(), allocations) << "buffers are used again";
}

TEST_F(EvaluatorTest, EvaluatesInSinglePrecision) {
  const EvaluationResult wide = Bench(test::world(), 0).evaluate(data(), {});
  const EvaluationResult narrow = Bench(test::world(), 0, DType::Fp32).evaluate(data(), {});
  EXPECT_NEAR(narrow.loss, wide.loss, 1e-5);  // some hundred operations of 6e-8 on losses of order 1
}

TEST_F(EvaluatorTest, SaysWhenThereIsNothingToEvaluate) {
  Bench bench(test::world(), 0);
  const test::SmallCorpus lone(DnaTokenizer(), {"A", "C"});
  const TokenCorpus corpus(lone.path());
  Evaluator evaluator(bench.execution.get(), bench.grid, bench.model.transformer,
                      {corpus, Split::Validation, kSequence, true}, {});
  try {
    evaluator.run();
    FAIL() << "nothing can be predicted";
  } catch (const AgreedError& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Data);
  }
}

}  // namespace
}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
// Answers to long-range tasks: those of greedy decoding, however the samples are dealt out, and what a memory that is knocked
// out or off leaves of them.
#include "infer/task_evaluator.hpp"

#include <algorithm>
#include <gtest/gtest.h>

#include "tests/infer/small_model.hpp"
#include "tests/support/execution.hpp"
#include "tests/support/mpi_world.hpp"

namespace rondo::test {
namespace {

constexpr std::int64_t kSegment = 4;

TransformerShape shape_with_memory(std::int64_t vocabulary, std::int64_t window_segments) {
  TransformerShape shape = small_shape(vocabulary);
  shape.attention = {LayerAttention::Infini};
  shape.segments = {.segment_tokens = kSegment, .window_segments = window_segments, .memory_rule = MemoryRule::Delta};
  return shape;
}

/// A model of random weights and the task that it is asked: it answers by chance, but always the same.
class Questioned {
 public:
  Questioned(LongRangeTask task, bool has_memory, std::int64_t window_segments = 0)
      : task_{.task = task, .tokens = 60, .seed = 4, .filler_ids = 3, .digits = 3, .pairs = 4, .keys = 4, .values = 4},
        shape_(has_memory ? shape_with_memory(vocabulary(), window_segments) : small_shape(vocabulary())),
        model_(execution_.get(), shape_) {
    task_.most_writes = 2;
    rule_ = {.causal = true};
    if (!has_memory) return;
    rule_.segment_tokens = kSegment;
    rule_.window_segments = window_segments;
    window_ = {.segment_tokens = kSegment, .window_segments = window_segments, .num_layers = shape_.layers};
  }

  const TaskOptions& task() const { return task_; }
  const ModelWindow& window() const { return window_; }
  TaskEvaluation evaluate(const Communicator& world, std::int64_t num_samples) {
    TaskEvaluator evaluator(execution_.get(), world, model_.transformer, task_,
                            {.rule = rule_, .window = window_, .close_gates = [this] { close_gates(); }});
    return evaluator.run(num_samples, {});
  }
  SequenceStream stream() {
    return SequenceStream(execution_.get(), model_.transformer, {.rule = rule_, .capacity_tokens = task_.tokens});
  }
  void close_gates() {
    for (const Parameter& parameter : model_.parameters.parameters()) {
      if (parameter.is_gate) model_.parameters.fill(parameter, -1e4);
    }
  }

 private:
  std::int64_t vocabulary() const { return tokenizer_of(task_)->vocabulary_size(); }

  TaskOptions task_;
  TransformerShape shape_;
  TestExecution execution_{Communicator::self()};
  SmallModel model_;
  AttentionMask::Rule rule_;
  ModelWindow window_;
};

/// The same, one token at a time: `before(position, stream)` may do something to the memory before a token is read.
template <typename Before> TaskScore one_by_one(Questioned& questioned, std::int64_t num_samples, Before before) {
  TaskScore score;
  SequenceStream stream = questioned.stream();
  for (std::int64_t index = 0; index < num_samples; ++index) {
    const TaskSample sample = make_sample(questioned.task(), SampleSplit::Test, index);
    std::vector<std::int32_t> most_likely(1);  // of what follows each token
    stream.reset();
    for (std::size_t position = 0; position + 1 < sample.tokens.size(); ++position) {
      before(sample, static_cast<std::int64_t>(position), stream);
      stream.feed(std::span(sample.tokens).subspan(position, 1));
      const auto logits = stream.next_logits();
      most_likely.push_back(static_cast<std::int32_t>(std::ranges::max_element(logits) - logits.begin()));
    }
    for (const TaskAnswer& answer : sample.answers) {
      add_answer(questioned.task(), questioned.window(), sample, answer,
                 std::span(most_likely)
                     .subspan(static_cast<std::size_t>(answer.first), static_cast<std::size_t>(answer.num_tokens)),
                 score);
    }
  }
  return score;
}

void expect_same(const TaskScore& score, const TaskScore& expected) {
  EXPECT_EQ(score.all, expected.all);
  EXPECT_EQ(score.wrong.num_older, expected.wrong.num_older);
  EXPECT_EQ(score.wrong.num_other, expected.wrong.num_other);
  ASSERT_EQ(score.by_compressions.size(), expected.by_compressions.size());
  for (std::size_t i = 0; i < score.by_compressions.size(); ++i) {
    EXPECT_EQ(score.by_compressions[i].score, expected.by_compressions[i].score);
  }
}

constexpr auto kNothing = [](const TaskSample&, std::int64_t, SequenceStream&) {};

TEST(TaskEvaluator, AnswersAsGreedyDecodingDoes) {
  for (const LongRangeTask task : {LongRangeTask::Passkey, LongRangeTask::Recall, LongRangeTask::Rewrite}) {
    for (const bool has_memory : {true, false}) {
      Questioned questioned(task, has_memory);
      const TaskEvaluation result = questioned.evaluate(Communicator::self(), 20);
      Questioned again(task, has_memory);
      expect_same(result.model, one_by_one(again, 20, kNothing));
      EXPECT_EQ(result.num_samples, 20);
      EXPECT_EQ(result.off.has_value(), has_memory);
      EXPECT_EQ(result.knocked_out.has_value(), has_memory);
    }
  }
}

TEST(TaskEvaluator, WithMemoryOffItIsAsIfItWereForgottenBeforeEveryToken) {
  for (const std::int64_t window : {0, 1}) {
    Questioned questioned(LongRangeTask::Recall, true, window);
    const TaskEvaluation result = questioned.evaluate(Communicator::self(), 40);
    Questioned again(LongRangeTask::Recall, true, window);
    expect_same(*result.off, one_by_one(again, 40, [](const TaskSample&, std::int64_t, SequenceStream& stream) {
      stream.forget_memory();
    }));
    EXPECT_NE(result.off->all, result.model.all) << "the memory changes what this model answers";
  }
}

TEST(TaskEvaluator, KnocksTheMemoryOutRightBeforeTheQuestion) {
  Questioned questioned(LongRangeTask::Recall, true);
  const TaskEvaluation result = questioned.evaluate(Communicator::self(), 40);
  Questioned again(LongRangeTask::Recall, true);
  expect_same(*result.knocked_out,
              one_by_one(again, 40, [](const TaskSample& sample, std::int64_t position, SequenceStream& stream) {
                if (position == sample.question_first) stream.forget_memory();
              }));
  EXPECT_NE(result.knocked_out->all, result.model.all);
}

TEST(TaskEvaluator, GivesTheSameOnAnyNumberOfRanks) {
  const TaskEvaluation alone = Questioned(LongRangeTask::Rewrite, true).evaluate(Communicator::self(), 7);
  for (const int ranks : {2, 3}) {
    with_ranks(ranks, [&](const Communicator& group) {
      const TaskEvaluation shared = Questioned(LongRangeTask::Rewrite, true).evaluate(group, 7);
      expect_same(shared.model, alone.model);
      expect_same(*shared.off, *alone.off);
      expect_same(*shared.knocked_out, *alone.knocked_out);
      EXPECT_EQ(Questioned(LongRangeTask::Passkey, true).evaluate(group, 1).model.all.exact.num_all, 1)
          << "with fewer samples than ranks";
    });
  }
}

}  // namespace
}  // namespace rondo::test

// SPDX-License-Identifier: Apache-2.0
// Scores of long-range tasks: Wilson's intervals, buckets of distance, and what wrong answers are.
#include "infer/task_score.hpp"

#include <gtest/gtest.h>
#include <map>

namespace rondo::test {
namespace {

TEST(TaskScore, IntervalsAreThoseOfWilson) {
  // against the formula in decimal arithmetic: Newcombe (1998) gives 81 of 263 and 0 of 20 among his examples
  const auto common = Proportion{81, 263}.interval();
  EXPECT_NEAR(common.low, 0.2553, 5e-5);
  EXPECT_NEAR(common.high, 0.3662, 5e-5);
  const auto none = Proportion{0, 20}.interval();
  EXPECT_EQ(none.low, 0);
  EXPECT_NEAR(none.high, 0.1611, 5e-5);
  const auto rare = Proportion{1, 29}.interval();
  EXPECT_NEAR(rare.low, 0.0061, 5e-5);
  EXPECT_NEAR(rare.high, 0.1718, 5e-5);
  EXPECT_EQ(Proportion{}.interval().high, 1);
}

TEST(TaskScore, PutsAnswersIntoBucketsOfPowersOfTwo) {
  const TaskOptions options{.task = LongRangeTask::Recall, .tokens = 4096, .seed = 1, .pairs = 16};
  const ModelWindow window{.segment_tokens = 64, .window_segments = 1, .num_layers = 2};
  TaskScore score;
  std::map<std::int64_t, Proportion> by_count;
  for (std::int64_t index = 0; index < 40; ++index) {
    const TaskSample sample = make_sample(options, SampleSplit::Test, index);
    for (std::size_t i = 0; i < sample.answers.size(); ++i) {
      const TaskAnswer& answer = sample.answers[i];
      const std::int32_t right = sample.tokens[static_cast<std::size_t>(answer.first)];
      const bool is_right = i % 3 == 0;
      const std::int32_t said = is_right ? right : 0;
      add_answer(options, window, sample, answer, std::span(&said, 1), score);
      Proportion& mine =
          by_count[compressions_between(sample.statements[static_cast<std::size_t>(answer.statement)], answer, 64, 1)];
      ++mine.num_all;
      mine.num_right += is_right ? 1 : 0;
    }
  }
  EXPECT_EQ(score.all.exact, (Proportion{40 * 6, 40 * 16}));
  EXPECT_EQ(score.all.tokens, score.all.exact);
  ASSERT_GE(score.by_compressions.size(), 6u);
  std::int64_t expected_first = 0;
  for (const ScoreBucket& bucket : score.by_compressions) {
    EXPECT_EQ(bucket.first, expected_first);
    EXPECT_EQ(bucket.end, bucket.first == 0 ? 1 : 2 * bucket.first);
    Proportion together;
    for (const auto& [count, one] : by_count) {
      if (count < bucket.first || count >= bucket.end) continue;
      together.num_right += one.num_right;
      together.num_all += one.num_all;
    }
    EXPECT_EQ(bucket.score.exact, together);
    expected_first = bucket.end;
  }
}

TEST(TaskScore, CountsAnswersThatLayersOfLocalAttentionReach) {
  const TaskStatement said{.first = 8, .end = 10};
  const auto reaches = [&](const ModelWindow& window, std::int64_t answer) {
    return window.reaches(said, {.first = answer});
  };
  const ModelWindow plain{.segment_tokens = 10, .window_segments = 0, .num_layers = 4};
  EXPECT_TRUE(reaches(plain, 10));
  EXPECT_FALSE(reaches(plain, 11));
  const ModelWindow wide{.segment_tokens = 10, .window_segments = 2, .num_layers = 4};
  EXPECT_TRUE(reaches(wide, 90));
  EXPECT_FALSE(reaches(wide, 91));
  EXPECT_TRUE(reaches({.segment_tokens = 10, .num_layers = 4, .has_exact_layers = true}, 1000));
  EXPECT_TRUE(reaches({}, 1000));
}

TEST(TaskScore, TellsWhoseValueAWrongAnswerIs) {
  TaskOptions options{.task = LongRangeTask::Rewrite, .tokens = 200};
  options.values = 11;
  options.filler_ids = 1;
  options.keys = 2;
  // key 1: 3, then 4; key 2: 5, then 4
  TaskSample sample;
  sample.tokens = {1, 3 + 3, 2, 3 + 5, 1, 3 + 4, 2, 3 + 4, 1, 3 + 4};
  sample.statements = {{0, 2, 1, 0}, {2, 4, 3, 1}, {4, 6, 5, 0}, {6, 8, 7, 1}};
  sample.answers = {{.first = 9, .num_tokens = 1, .num_value_tokens = 1, .statement = 2, .num_writes = 2}};
  const auto wrong = [&](std::int32_t value) {
    TaskScore score;
    const std::int32_t said = 3 + value;
    add_answer(options, {}, sample, sample.answers[0], std::span(&said, 1), score);
    EXPECT_EQ(score.by_writes.at(0).first, 2);
    return score.wrong;
  };
  EXPECT_EQ(wrong(4).num_all, 0);
  TaskScore right;
  add_answer(options, {}, sample, sample.answers[0], std::span(&sample.tokens[9], 1), right);
  EXPECT_DOUBLE_EQ(right.expected_of_guessing, 0.5) << "two of four statements say 4";
  EXPECT_EQ(wrong(3).num_older, 1);
  EXPECT_EQ(wrong(3).num_other, 0);
  EXPECT_EQ(wrong(5).num_older, 0);
  EXPECT_EQ(wrong(5).num_other, 1);
  EXPECT_EQ(wrong(9).num_all, 1);
  EXPECT_EQ(wrong(9).num_older + wrong(9).num_other, 0);
  EXPECT_DOUBLE_EQ(wrong(9).expected_older, 0.1);
  EXPECT_DOUBLE_EQ(wrong(9).expected_other, 0.1);  // 4 is the right answer, whatever else has it
}

// Where all keys are asked for, the last answer is what is left, and keys need not be looked up at all.
TEST(TaskScore, ExpectsAGuessToLeaveOutWhatWasTold) {
  TaskOptions options{.task = LongRangeTask::Recall, .tokens = 64};
  options.pairs = 3;
  TaskSample sample = make_sample(options, SampleSplit::Test, 0);
  ASSERT_EQ(sample.answers.size(), 3U);
  for (std::size_t i = 0; i < 3; ++i) {  // all values differ
    const TaskStatement& said = sample.statements[i];
    sample.tokens[static_cast<std::size_t>(said.value_first)] = 100 + static_cast<std::int32_t>(said.subject);
  }
  for (std::size_t i = 0; i < 3; ++i) {
    const TaskAnswer& answer = sample.answers[i];
    const TaskStatement& said = sample.statements[static_cast<std::size_t>(answer.statement)];
    auto& right = sample.tokens[static_cast<std::size_t>(answer.first)];
    right = 100 + static_cast<std::int32_t>(said.subject);
    TaskScore score;
    add_answer(options, {}, sample, answer, std::span(&right, 1), score);
    EXPECT_DOUBLE_EQ(score.expected_of_guessing, 1.0 / (3 - static_cast<double>(i)));
  }
}

TEST(TaskScore, AsksForTheEndOfANumberButCountsItsDigits) {
  const TaskOptions options{.task = LongRangeTask::PasskeyText, .tokens = 600};
  const TaskSample sample = make_sample(options, SampleSplit::Test, 0);
  const TaskAnswer& answer = sample.answers[0];
  std::vector<std::int32_t> said(sample.tokens.end() - answer.num_tokens, sample.tokens.end());
  TaskScore right, unended, wrong;
  add_answer(options, {}, sample, answer, said, right);
  EXPECT_EQ(right.all.exact, (Proportion{1, 1}));
  EXPECT_EQ(right.all.tokens, (Proportion{answer.num_value_tokens, answer.num_value_tokens}));
  said.back() = '7';
  add_answer(options, {}, sample, answer, said, unended);
  EXPECT_EQ(unended.all.exact, (Proportion{0, 1}));
  EXPECT_EQ(unended.all.tokens, (Proportion{answer.num_value_tokens, answer.num_value_tokens}));
  said.front() = 'x';
  add_answer(options, {}, sample, answer, said, wrong);
  EXPECT_EQ(wrong.all.tokens.num_right, answer.num_value_tokens - 1);
  EXPECT_EQ(wrong.wrong.num_all, 0) << "a sample of one key has no other candidates";
}

TEST(TaskScore, AddsUpAsIfItWereOne) {
  const TaskOptions options{.task = LongRangeTask::Rewrite, .tokens = 512, .seed = 1};
  const ModelWindow window{.segment_tokens = 16, .window_segments = 0, .num_layers = 2};
  TaskScore whole, parts[2];
  for (std::int64_t index = 0; index < 10; ++index) {
    const TaskSample sample = make_sample(options, SampleSplit::Test, index);
    for (const TaskAnswer& answer : sample.answers) {
      const std::int32_t said = sample.tokens[static_cast<std::size_t>(sample.statements[0].value_first)];
      add_answer(options, window, sample, answer, std::span(&said, 1), whole);
      add_answer(options, window, sample, answer, std::span(&said, 1), parts[index % 2]);
    }
  }
  parts[0].add(parts[1]);
  EXPECT_EQ(parts[0].all, whole.all);
  EXPECT_EQ(parts[0].wrong.num_all, whole.wrong.num_all);
  EXPECT_EQ(parts[0].wrong.num_other, whole.wrong.num_other);
  ASSERT_EQ(parts[0].by_compressions.size(), whole.by_compressions.size());
  for (std::size_t i = 0; i < whole.by_compressions.size(); ++i) {
    EXPECT_EQ(parts[0].by_compressions[i].first, whole.by_compressions[i].first);
    EXPECT_EQ(parts[0].by_compressions[i].score, whole.by_compressions[i].score);
  }
  EXPECT_EQ(parts[0].by_writes.size(), whole.by_writes.size());
}

}  // namespace
}  // namespace rondo::test

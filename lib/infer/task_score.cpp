// SPDX-License-Identifier: Apache-2.0
#include "infer/task_score.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <set>

#include "core/error.hpp"

namespace rondo {

namespace {

void add_proportion(const Proportion& from, Proportion& to) {
  to.num_right += from.num_right;
  to.num_all += from.num_all;
}

void add_buckets(const std::vector<ScoreBucket>& from, std::vector<ScoreBucket>& to) {
  for (const ScoreBucket& bucket : from) {
    const auto place = std::ranges::lower_bound(to, bucket.first, {}, &ScoreBucket::first);
    if (place != to.end() && place->first == bucket.first) {
      place->score.add(bucket.score);
    } else {
      to.insert(place, bucket);
    }
  }
}

ScoreBucket power_of_two_bucket(std::int64_t number, const AnswerScore& score) {
  if (number == 0) return {0, 1, score};
  const auto first = static_cast<std::int64_t>(std::bit_floor(static_cast<std::uint64_t>(number)));
  return {first, 2 * first, score};
}

/// Classifies a wrong answer by the values of the sample. @pre the answer has one token: only then has the sample other values
WrongAnswers classify(const TaskOptions& options, const TaskSample& sample, const TaskAnswer& answer,
                      std::int32_t predicted) {
  const TaskStatement& asked = sample.statements[static_cast<std::size_t>(answer.statement)];
  const std::int32_t right = sample.tokens[static_cast<std::size_t>(answer.first)];
  std::set<std::int32_t> older, other;
  for (const TaskStatement& said : sample.statements) {
    const std::int32_t value = sample.tokens[static_cast<std::size_t>(said.value_first)];
    if (said.subject == asked.subject) {
      older.insert(value);
    } else {
      other.insert(value);
    }
  }
  for (const std::int32_t value : older) other.erase(value);
  older.erase(right);
  const auto num_wrong_values = static_cast<double>(options.values - 1);
  return {.num_all = 1,
          .num_older = older.contains(predicted) ? 1 : 0,
          .num_other = other.contains(predicted) ? 1 : 0,
          .expected_older = static_cast<double>(older.size()) / num_wrong_values,
          .expected_other = static_cast<double>(other.size()) / num_wrong_values};
}

/// The fraction with the right value among the statements whose subject no earlier answer of the sample was about.
double share_of_guessing(const TaskSample& sample, const TaskAnswer& answer) {
  std::set<std::int64_t> told;
  for (const TaskAnswer& earlier : sample.answers) {
    if (earlier.first < answer.first)
      told.insert(sample.statements[static_cast<std::size_t>(earlier.statement)].subject);
  }
  std::int64_t num_left = 0, num_right = 0;
  for (const TaskStatement& said : sample.statements) {
    if (told.contains(said.subject)) continue;
    ++num_left;
    const bool is_right = sample.tokens[static_cast<std::size_t>(said.value_first)] ==
                          sample.tokens[static_cast<std::size_t>(answer.first)];
    if (is_right) ++num_right;
  }
  return static_cast<double>(num_right) / static_cast<double>(num_left);
}

}  // namespace

Proportion::Interval Proportion::interval() const {
  if (num_all == 0) return {};
  constexpr double z = 1.959963984540054;  // the normal distribution's 97.5 %
  const auto n = static_cast<double>(num_all);
  const double p = share(), scale = 1 / (1 + z * z / n);
  const double center = scale * (p + z * z / (2 * n));
  const double half = scale * z * std::sqrt(p * (1 - p) / n + z * z / (4 * n * n));
  return {std::max(center - half, 0.0), std::min(center + half, 1.0)};
}

void AnswerScore::add(const AnswerScore& other) {
  add_proportion(other.exact, exact);
  add_proportion(other.tokens, tokens);
}

void WrongAnswers::add(const WrongAnswers& other) {
  num_all += other.num_all;
  num_older += other.num_older;
  num_other += other.num_other;
  expected_older += other.expected_older;
  expected_other += other.expected_other;
}

void TaskScore::add(const TaskScore& other) {
  all.add(other.all);
  wrong.add(other.wrong);
  add_buckets(other.by_compressions, by_compressions);
  add_buckets(other.by_writes, by_writes);
  expected_of_guessing += other.expected_of_guessing;
  num_in_reach += other.num_in_reach;
}

std::int64_t ModelWindow::compressions(const TaskStatement& statement, const TaskAnswer& answer) const {
  return segment_tokens == 0 ? 0 : compressions_between(statement, answer, segment_tokens, window_segments);
}

bool ModelWindow::reaches(const TaskStatement& statement, const TaskAnswer& answer) const {
  if (segment_tokens == 0 || has_exact_layers) return true;
  return compressions_between(statement, answer, segment_tokens, window_segments * num_layers) == 0;
}

void add_answer(const TaskOptions& options, const ModelWindow& window, const TaskSample& sample,
                const TaskAnswer& answer, std::span<const std::int32_t> predicted, TaskScore& score) {
  ensure(std::ssize(predicted) == answer.num_tokens, "every token of an answer is predicted");
  const TaskStatement& statement = sample.statements[static_cast<std::size_t>(answer.statement)];
  AnswerScore mine{.exact = {.num_right = 1, .num_all = 1},
                   .tokens = {.num_right = 0, .num_all = answer.num_value_tokens}};
  for (std::int64_t i = 0; i < answer.num_tokens; ++i) {
    const bool is_right =
        predicted[static_cast<std::size_t>(i)] == sample.tokens[static_cast<std::size_t>(answer.first + i)];
    if (!is_right) mine.exact.num_right = 0;
    if (is_right && i < answer.num_value_tokens) ++mine.tokens.num_right;
  }
  TaskScore one{.all = mine,
                .by_compressions = {power_of_two_bucket(window.compressions(statement, answer), mine)},
                .num_in_reach = window.reaches(statement, answer) ? 1 : 0};
  if (options.task == LongRangeTask::Rewrite) one.by_writes = {{answer.num_writes, answer.num_writes + 1, mine}};
  if (options.has_pairs()) {
    one.expected_of_guessing = share_of_guessing(sample, answer);
    if (mine.exact.num_right == 0) one.wrong = classify(options, sample, answer, predicted.front());
  }
  score.add(one);
}

}  // namespace rondo

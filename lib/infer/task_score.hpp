// SPDX-License-Identifier: Apache-2.0
// Scores of a model's answers on a long-range task: proportions with confidence intervals, by compressions and by number of
// writes, and a classification of the wrong answers. Knows nothing of models.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "io/long_range_task.hpp"

namespace rondo {

/// A proportion of right answers, and the counts that it is made of.
struct Proportion {
  std::int64_t num_right = 0, num_all = 0;

  double share() const { return num_all == 0 ? 0 : static_cast<double>(num_right) / static_cast<double>(num_all); }
  struct Interval {
    double low = 0, high = 1;
  };
  /// Wilson's 95 % confidence interval, valid also for proportions near 0 and 1; [0, 1] when num_all is 0.
  Interval interval() const;
  bool operator==(const Proportion&) const = default;
};

/// Right whole answers, and right tokens of values, each predicted given the right tokens before it.
struct AnswerScore {
  Proportion exact, tokens;

  void add(const AnswerScore& other);
  bool operator==(const AnswerScore&) const = default;
};

/// What wrong answers say instead.
struct WrongAnswers {
  std::int64_t num_all = 0;
  std::int64_t num_older = 0;  ///< an older value of the same key
  std::int64_t num_other = 0;  ///< a value of another key, and none of this one
  double expected_older = 0,
         expected_other = 0;  ///< expected counts if the same answers were drawn uniformly from all wrong values

  void add(const WrongAnswers& other);
};

/// Scores of the answers whose number lies in [first, end).
struct ScoreBucket {
  std::int64_t first = 0, end = 0;
  AnswerScore score;
};

struct TaskScore {
  AnswerScore all = {};
  WrongAnswers wrong = {};
  std::vector<ScoreBucket> by_compressions = {};  ///< [0, 1), [1, 2), [2, 4), [4, 8), ...
  std::vector<ScoreBucket> by_writes = {};        ///< [1, 2), [2, 3), ...
  /// Expected number of right answers from guessing among the values that no earlier answer of the sample was about.
  double expected_of_guessing = 0;
  std::int64_t num_in_reach = 0;  ///< answers whose statement local attention alone may reach

  void add(const TaskScore& other);
};

/// How far a model can attend without its memory.
struct ModelWindow {
  std::int64_t segment_tokens = 0;   ///< 0: no memory; every token is within reach
  std::int64_t window_segments = 0;  ///< per layer
  std::int64_t num_layers = 0;
  bool has_exact_layers = false;

  std::int64_t compressions(const TaskStatement& statement, const TaskAnswer& answer) const;
  /// Whether stacked layers of local attention can carry the statement to the question.
  bool reaches(const TaskStatement& statement, const TaskAnswer& answer) const;
};

/// Adds one answer. @param predicted  the most likely token at each token of the answer, given the right tokens before it
void add_answer(const TaskOptions& options, const ModelWindow& window, const TaskSample& sample,
                const TaskAnswer& answer, std::span<const std::int32_t> predicted, TaskScore& score);

}  // namespace rondo

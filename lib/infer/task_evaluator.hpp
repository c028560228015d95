// SPDX-License-Identifier: Apache-2.0
// Evaluates a model on the test samples of a long-range task: as it is, with its memory emptied before the question, and with
// its memory gates closed. What it still answers then does not come from the memory.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "comm/communicator.hpp"
#include "config/model_config.hpp"
#include "infer/sequence_stream.hpp"
#include "infer/task_score.hpp"

namespace rondo {

struct TaskEvaluation {
  std::int64_t num_samples = 0;
  TaskScore model = {};
  /// Only for models with a memory: memory emptied right before the question; gates closed from the first token.
  std::optional<TaskScore> knocked_out = {}, off = {};
};

/// How far a model can attend without its memory.
ModelWindow window_of(const ModelConfig& model);

struct TaskEvaluatorOptions {
  AttentionMask::Rule rule = {};
  ModelWindow window = {};
  /// Closes the gates of the model's memories permanently. Required if the model has a memory.
  std::function<void()> close_gates = {};
};

class TaskEvaluator {
 public:
  /// @pre all but the options outlive this; `execution` has a ring of one rank; check(task) has passed; the ids of the task
  /// are in the model's vocabulary
  TaskEvaluator(Execution& execution, const Communicator& world, Transformer& model, const TaskOptions& task,
                const TaskEvaluatorOptions& options);

  /// Evaluates the first `num_samples` of the test split, distributed over the ranks. Collective; the same result on every
  /// rank. May be called only once, since it ends with closed gates.
  /// @param progress called on every rank after each of its samples with the number done and the total; may be empty
  TaskEvaluation run(std::int64_t num_samples,
                     const std::function<void(std::int64_t done, std::int64_t all)>& progress);

 private:
  /// The most likely token at each token of each answer, in order, given the right tokens before it.
  using Replies = std::vector<std::int32_t>;
  /// Feeds `stream` the sample up to each token of an answer, and appends the model's prediction of it to `replies`.
  /// @pre `stream` has read a prefix of the sample that ends before the first answer
  static void answer(const TaskSample& sample, SequenceStream& stream, Replies& replies);
  /// Scores the replies of all ranks.
  TaskScore score(std::int64_t num_samples, const Replies& mine) const;

  const Communicator& world_;
  TaskOptions task_;
  TaskEvaluatorOptions options_;
  SequenceStream stream_;
  std::optional<SequenceStream> forgetful_;  // if the model has a memory
};

}  // namespace rondo

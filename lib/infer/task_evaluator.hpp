// SPDX-License-Identifier: Apache-2.0
// Asks a model the fresh samples of a long-range task, and asks again with its memory knocked out and with its memory off: what
// it knows then does not come from the memory.
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
  /// Only of models with a memory: emptied right before the question; with closed gates from the first token on.
  std::optional<TaskScore> knocked_out = {}, off = {};
};

/// How far a model sees without its memory.
ModelSight sight_of(const ModelConfig& model);

struct TaskEvaluatorOptions {
  AttentionMask::Rule rule = {};
  ModelSight sight = {};
  /// Shuts the gates of the model's memories for good. Needed where there is a memory.
  std::function<void()> close_gates = {};
};

class TaskEvaluator {
 public:
  /// @pre all but the options outlive this; `execution` has a ring of one rank; check(task) has passed; the ids of the task
  /// are in the model's vocabulary
  TaskEvaluator(Execution& execution, const Communicator& world, Transformer& model, const TaskOptions& task,
                const TaskEvaluatorOptions& options);

  /// Asks the first samples of the test split, dealt out over the ranks. Collective; the same result on every rank. To be
  /// called once, since it ends with closed gates.
  /// @param progress called on every rank after each of its samples with how many of how many it has done; may be empty
  TaskEvaluation run(std::int64_t num_samples,
                     const std::function<void(std::int64_t done, std::int64_t all)>& progress);

 private:
  /// The most likely token at each token of each answer, in order, given the right ones before it.
  using Replies = std::vector<std::int32_t>;
  /// Lets `stream` read on to the answers. @pre it has read the sample's first tokens, and none of an answer
  static void answer(const TaskSample& sample, SequenceStream& stream, Replies& replies);
  /// What the replies of all ranks are worth.
  TaskScore score(std::int64_t num_samples, const Replies& mine) const;

  const Communicator& world_;
  TaskOptions task_;
  TaskEvaluatorOptions options_;
  SequenceStream stream_;
  std::optional<SequenceStream> forgetful_;  // where there is a memory to forget
};

}  // namespace rondo

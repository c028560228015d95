// SPDX-License-Identifier: Apache-2.0
// One stage of training: the loop over steps, and what surrounds it. Collective throughout: all ranks call
// alike.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "comm/stop_signal.hpp"
#include "config/run_config.hpp"
#include "core/sequence_spans.hpp"
#include "infer/evaluator.hpp"
#include "io/data_loader.hpp"
#include "model/memory_watch.hpp"
#include "model/transformer.hpp"
#include "runtime/runtime.hpp"
#include "train/span_states.hpp"
#include "train/step_actions.hpp"
#include "train/step_report.hpp"
#include "train/step_sums.hpp"
#include "train/training_state.hpp"

namespace rondo {

enum class TrainOutcome { Finished, Stopped };

class Trainer {
 public:
  /// @param config resolved. All references outlive the trainer.
  /// @param checkpoints the folder of this run's checkpoints
  Trainer(Runtime& runtime, const RunConfig& config, const TokenCorpus& corpus, const StopSignal& stop,
          const std::filesystem::path& checkpoints);

  /// Takes up the newest valid checkpoint of the folder, or else the weights of train.initialise_from, or
  /// else starts from the seed. @returns the step to go on from. Throws CheckpointError.
  std::int64_t begin();
  /// Trains to the last step, or until a signal or the time limit; the state is then committed.
  /// Throws NonFiniteError, agreed by all ranks, before an update with a non-finite loss or gradient.
  TrainOutcome run();

  /// One update from the next sequences; public for tests.
  StepReport step();
  TrainingState& state() { return state_; }
  ParameterSet& parameters() { return parameters_; }
  const RunConfig& config() const { return config_; }
  const TransformerShape& shape() const { return shape_; }

  /// Called on rank 0 after every step.
  std::function<void(const StepReport&)> on_step;
  /// Called on every rank at the start and after every update, as "training", and before and after what may follow: "evaluation", "save".
  std::function<void(std::string_view phase, std::int64_t step)> on_phase;
  /// Called on rank 0 with one JSON object for each logged step and each evaluation.
  std::function<void(std::int64_t step, const std::string& record)> on_record;

 private:
  struct LossSum {
    double loss = 0;
    std::int64_t num_targets = 0;
    double attended_pairs = 0;
  };
  /// Sequences of a step that this rank's ring works on.
  std::int64_t num_rounds() const { return config_.train.batch_sequences / runtime_.grid().data_size(); }
  void load(std::int64_t round, std::int64_t span);
  void forward_backward(std::int64_t round, LossSum& sum);
  void forward_backward_span(std::int64_t round, std::int64_t span, const SequenceState* before, SequenceState* d_state,
                             LossSum& sum);
  /// This rank's tokens and targets of the span at hand.
  TokenBatch batch() const;
  LossSum sum_over_ranks(const LossSum& mine) const;
  void stop_if_not_finite(double my_loss);
  void obey(const StepActions& actions, const StepReport& report);
  void evaluate();
  MemoryRecord memory_record(const MemoryWatch& watch);
  void save();
  void record(std::int64_t step, const std::string& text) const;
  void enter(std::string_view phase) const;

  Runtime& runtime_;
  Execution& execution_;
  const RunConfig config_;
  const TokenCorpus& corpus_;
  const StopSignal& stop_;

  TransformerShape shape_;
  SequenceSpans spans_;
  ParameterSet parameters_;
  AdamW optimizer_;
  Transformer model_;
  StepSums sums_;
  TrainingState state_;
  DataLoader loader_;
  std::unique_ptr<SpanStates> span_states_;  // none when a sequence is one span
  std::unique_ptr<Evaluator> evaluator_;     // none when there is no validation part
  CheckpointStore checkpoints_;
  CheckpointContext context_;
  StepPlanner planner_;

  LoadedSequence sequence_;  // this rank's share of the span at hand
  Buffer tokens_, targets_, losses_;
  std::unique_ptr<Span> span_;
  double smoothed_step_s_ = 0;
};

}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
// The training loop over steps, with restoring, evaluation and checkpoints. All ranks must make the same calls.
#pragma once

#include <exception>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "comm/stop_signal.hpp"
#include "config/run_config.hpp"
#include "io/data_loader.hpp"
#include "runtime/runtime.hpp"
#include "train/step_actions.hpp"
#include "train/step_report.hpp"
#include "train/training_state.hpp"
#include "train/training_step.hpp"
#include "train/validation.hpp"

namespace rondo {

enum class TrainOutcome { Finished, Stopped };

class Trainer {
 public:
  /// @param config resolved. All references outlive the trainer.
  /// @param checkpoints the folder of this run's checkpoints
  Trainer(Runtime& runtime, const RunConfig& config, const TokenCorpus& corpus, const StopSignal& stop,
          const std::filesystem::path& checkpoints);

  /// Restores the newest valid checkpoint of the folder, or else the weights of train.initialise_from, or else initialises from
  /// the seed. Makes sure that there is memory to evaluate and disk space for a checkpoint.
  /// @returns the step to continue from. Throws CheckpointError.
  std::int64_t restore_or_initialise();
  /// Trains to the last step, or until a signal or the time limit; the state is then saved and committed.
  /// Throws an AgreedError (NonFinite) before an update with a non-finite loss or gradient.
  TrainOutcome run();
  /// Evaluates if an evaluation is due after the restored step: the run may have ended between a checkpoint and its evaluation.
  void evaluate_if_due();
  /// Why there is no validation loss, and what to do about it; empty when there is one.
  const std::string& validation_problem() const { return validation_.problem(); }
  /// The error of the evaluation after the last step; the run is finished even so. Empty if there was none.
  const std::string& final_evaluation_error() const { return final_evaluation_error_; }

  /// One update from the next sequences; public for tests.
  StepReport step();
  TrainingState& state() { return state_; }
  const TrainingProgress& progress() const { return state_.progress; }
  ParameterSet& parameters() { return step_.parameters(); }
  const RunConfig& config() const { return config_; }
  const TransformerShape& shape() const { return step_.shape(); }

  /// Called on rank 0 after every step.
  std::function<void(const StepReport&)> on_step;
  /// Called on every rank with the current phase: "training" at the start, after every update, after each pass over a span if a
  /// sequence has several, and after other phases; "evaluation" and "save" before these.
  std::function<void(std::string_view phase, std::int64_t step)> on_phase;
  /// Called on rank 0 for each logged step and each evaluation.
  std::function<void(const MetricsRecord& metrics)> on_metrics;

 private:
  struct LossSum {
    double loss = 0;
    std::int64_t num_targets = 0;
    double attended_pairs = 0;
  };
  /// Sequences of a step that this rank's ring works on, one after the other.
  std::int64_t num_micro_batches() const { return step_.num_micro_batches(); }
  /// The sequence of a micro-batch; loading and computing it adds its targets and pairs to `sum`.
  SequenceInput micro_batch(std::int64_t index, LossSum& sum);
  LossSum sum_over_ranks(const LossSum& mine) const;
  /// Defined in non_finite.cpp.
  void stop_if_not_finite();
  std::string document_names(std::int64_t micro_batch);
  void perform(const StepActions& actions, const StepReport& report);
  void evaluate(bool is_final);
  void save();
  /// @returns the error that prevented writing the metrics; only rank 0 can have one
  std::exception_ptr write_metrics(const MetricsRecord& metrics) const;
  void enter_phase(std::string_view phase) const;

  Runtime& runtime_;
  Execution& execution_;
  const RunConfig config_;
  const TokenCorpus& corpus_;
  const StopSignal& stop_;

  TrainingStep step_;
  TrainingState state_;
  DataLoader loader_;
  Validation validation_;
  CheckpointStore checkpoints_;
  const CheckpointMetadata origin_;  // of all checkpoints, except for the progress, which is that of state_
  StepPlanner planner_;
  std::string final_evaluation_error_;

  LoadedSequence sequence_;  // this rank's tokens of the loaded span, on the host
  double smoothed_step_s_ = 0;
};

}  // namespace rondo

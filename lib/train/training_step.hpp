// SPDX-License-Identifier: Apache-2.0
// What one rank computes in a training step, and all the device memory that this takes: model, optimizer, sums. It does not
// depend on corpus, files or the control plane, so that the dry run of a plan can execute it on a device without memory.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "config/run_config.hpp"
#include "core/sequence_spans.hpp"
#include "model/transformer.hpp"
#include "train/adamw.hpp"
#include "train/span_states.hpp"
#include "train/step_sums.hpp"

namespace rondo {

/// This rank's tokens of a span, in host memory, and the documents of the whole sequence.
struct SpanInput {
  const std::int32_t* tokens = nullptr;   // in the local order of the runs
  const std::int32_t* targets = nullptr;  // the target of each
  std::span<const std::int64_t> document_offsets = {};
};

/// Provides the tokens of one sequence.
struct SequenceInput {
  /// Loads the tokens at the given positions; they are valid until the next call.
  std::function<SpanInput(const TokenRuns& runs)> load;
  /// Called after each pass over a span has been enqueued on the device; only ForwardAndBackward counts in the loss.
  enum class Pass { Forward, ForwardAndBackward };
  std::function<void(const Span& span, Pass pass)> on_span;
};

class TrainingStep {
 public:
  /// @param world   connects all ranks, which hold the same parameters
  /// @param config  resolved. All references must outlive this object.
  TrainingStep(Execution& execution, Transport& world, const RunConfig& config);

  /// Begins a step: sets gradients and sums to 0.
  void begin();
  /// Adds the gradients and losses of one sequence of this rank's ring, span by span or as a whole.
  /// @param micro_batch  from 0 to num_micro_batches() - 1
  void forward_backward(std::int64_t micro_batch, const SequenceInput& input);
  /// All-reduces the gradients over all ranks. Waits for the device, the only time in a step; sums() can be read afterwards.
  void sum_gradients();
  /// @param step 1 for the first update
  void update(std::int64_t step, double gradient_scale) { optimizer_.update(config_.train, step, gradient_scale); }

  /// Copies the tokens of a span to the device and makes it the current one: span() and batch().
  void load(const SequenceInput& input, std::int64_t span);
  const Span& span() const { return *span_; }
  TokenBatch batch() const;

  /// Sequences of a step that this rank's ring works on, one after the other.
  std::int64_t num_micro_batches() const { return num_micro_batches_; }
  const StepSums& sums() const { return sums_; }
  const TransformerShape& shape() const { return shape_; }
  const SequenceSpans& spans() const { return spans_; }
  ParameterSet& parameters() { return parameters_; }
  AdamW& optimizer() { return optimizer_; }
  Transformer& model() { return model_; }

 private:
  void forward_backward_span(std::int64_t micro_batch, const SequenceInput& input, std::int64_t span,
                             const SequenceState* before, SequenceState* d_state);

  Execution& execution_;
  Transport& world_;
  const RunConfig& config_;
  TransformerShape shape_;
  SequenceSpans spans_;
  std::int64_t num_micro_batches_;
  ParameterSet parameters_;
  AdamW optimizer_;
  Transformer model_;
  StepSums sums_;
  Buffer tokens_, targets_, losses_;         // [T] of the largest span
  std::unique_ptr<SpanStates> span_states_;  // none when a sequence is one span
  std::unique_ptr<Span> span_;
};

}  // namespace rondo

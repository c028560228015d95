// SPDX-License-Identifier: Apache-2.0
#include "train/training_step.hpp"

#include "core/trace.hpp"
#include "model/shape_of.hpp"

namespace rondo {

TrainingStep::TrainingStep(Execution& execution, Transport& world, const RunConfig& config)
    : execution_(execution),
      world_(world),
      config_(config),
      shape_(shape_of(config)),
      spans_(config.data.sequence_length, config.memory.span_tokens, execution.ring.size(), *config.parallel.layout),
      num_micro_batches_(config.train.batch_sequences / (world.size() / execution.ring.size())),
      parameters_(execution, shape_, dtype_of_compute(config.precision.compute)),
      optimizer_(execution, parameters_),
      model_(execution, shape_, parameters_, ActivationPolicy::KeepAttention),
      sums_(execution, parameters_, num_micro_batches_) {
  const Shape tokens{spans_.most_tokens(execution.ring.rank())};
  tokens_ = Buffer(execution.device, DType::Int32, tokens, MemoryUse::Workspace);
  targets_ = Buffer(execution.device, DType::Int32, tokens, MemoryUse::Workspace);
  losses_ = Buffer(execution.device, parameters_.master_dtype(), tokens, MemoryUse::Workspace);
  if (spans_.count() > 1) {
    span_states_ = std::make_unique<SpanStates>(execution, model_, spans_.count(), spans_.sequence_tokens(),
                                                config.memory.span_states_mib << 20);
  }
}

void TrainingStep::begin() {
  parameters_.zero_gradients();
  sums_.clear();
}

void TrainingStep::load(const SequenceInput& input, std::int64_t span) {
  TraceScope trace("training_step.load");
  const SequenceLayout layout = spans_.layout(span);
  const SpanInput loaded = input.load(layout.runs(execution_.ring.rank()));
  span_ = std::make_unique<Span>(layout, mask_rule_of(config_.model), execution_.ring.rank(), loaded.document_offsets,
                                 spans_.sequence_tokens());
  const auto [tokens, targets] = batch();
  execution_.device.copy(execution_.compute, tokens.data, loaded.tokens, tokens.size_bytes());
  execution_.device.copy(execution_.compute, targets.data, loaded.targets, targets.size_bytes());
}

TokenBatch TrainingStep::batch() const {
  return {tokens_.view().rows(0, span_->num_tokens()), targets_.view().rows(0, span_->num_tokens())};
}

void TrainingStep::forward_backward(std::int64_t micro_batch, const SequenceInput& input) {
  if (!span_states_) return forward_backward_span(micro_batch, input, 0, nullptr, nullptr);
  span_states_->walk(
      [&](std::int64_t span, SequenceFlow state) {
        load(input, span);
        model_.advance(*span_, batch().tokens, state);
        input.on_span(*span_, SequenceInput::Pass::Forward);
      },
      [&](std::int64_t span, const SequenceState* before, SequenceState* d_state) {
        forward_backward_span(micro_batch, input, span, before, d_state);
      });
}

void TrainingStep::forward_backward_span(std::int64_t micro_batch, const SequenceInput& input, std::int64_t span,
                                         const SequenceState* before, SequenceState* d_state) {
  load(input, span);
  const TensorView losses = losses_.view().rows(0, span_->num_tokens());
  model_.forward_backward(*span_, batch(), losses, before, d_state);
  sums_.add_losses(micro_batch, losses);
  input.on_span(*span_, SequenceInput::Pass::ForwardAndBackward);
}

void TrainingStep::sum_gradients() {
  sums_.sum_squares(StepSums::Of::ThisRank);
  world_.all_reduce(execution_.compute, parameters_.all_gradients(), execution_.scratch);
  sums_.sum_squares(StepSums::Of::AllRanks);
  sums_.fetch();
}

}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
#include "train/trainer.hpp"

#include <chrono>
#include <cmath>

#include "config/print.hpp"
#include "core/log.hpp"
#include "core/trace.hpp"
#include "io/checkpoint_reader.hpp"
#include "model/shape_of.hpp"
#include "train/initial_weights.hpp"
#include "train/schedule.hpp"

namespace rondo {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

Buffer token_buffer(Device& device, std::int64_t tokens, DType dtype) {
  return Buffer(device, dtype, {tokens}, MemoryUse::Workspace);
}

}  // namespace

Trainer::Trainer(Runtime& runtime, const RunConfig& config, const TokenCorpus& corpus, const StopSignal& stop,
                 const std::filesystem::path& checkpoints)
    : runtime_(runtime),
      execution_(runtime.execution()),
      config_(config),
      corpus_(corpus),
      stop_(stop),
      shape_(shape_of(config)),
      spans_(config.data.sequence_length, config.memory.span_tokens, execution_.ring.size(), *config.parallel.layout),
      parameters_(execution_, shape_, dtype_of_compute(config.precision.compute)),
      optimizer_(execution_, parameters_),
      model_(execution_, shape_, parameters_, ActivationPolicy::KeepAttention),
      sums_(execution_, parameters_),
      state_(parameters_, optimizer_),
      loader_(corpus, Split::Train,
              {.sequence_length = config.data.sequence_length,
               .seed = static_cast<std::uint64_t>(config.train.seed),
               .isolate_documents = config.data.isolate_documents,
               .whole_documents = config.data.whole_documents}),
      checkpoints_(checkpoints),
      context_{to_toml(config_), corpus.tokenizer().to_json(), corpus.tokenizer_digest(),
               corpus.tokens_digest(Split::Train), config.train.seed},
      planner_(runtime.world(), config_) {
  const std::int64_t tokens = spans_.most_tokens(execution_.ring.rank());
  tokens_ = token_buffer(execution_.device, tokens, DType::Int32);
  targets_ = token_buffer(execution_.device, tokens, DType::Int32);
  losses_ = token_buffer(execution_.device, tokens, parameters_.master_dtype());
  if (spans_.count() > 1) {
    span_states_ = std::make_unique<SpanStates>(execution_, model_, spans_.count(), spans_.sequence_tokens(),
                                                config.memory.span_states_mib << 20);
  }
  if (corpus.num_tokens(Split::Validation) > 0) {
    evaluator_ = std::make_unique<Evaluator>(
        runtime_, model_,
        EvaluationData{corpus, Split::Validation, config.data.sequence_length, config.data.isolate_documents},
        EvaluationOptions{config.evaluate.sequences, *config.parallel.layout, mask_rule_of(config.model),
                          config.memory.span_tokens});
  }
}

std::int64_t Trainer::begin() {
  checkpoints_.remove_leftovers(runtime_.world());
  if (const auto newest = checkpoints_.newest_valid(runtime_.world())) {
    const CheckpointReader reader = CheckpointReader::open(runtime_.world(), checkpoints_.step_folder(*newest));
    reader.read(runtime_.world(), state_.tensors());
    state_.progress = TrainingState::progress_from(reader.metadata());
    parameters_.refresh_compute_copies();
  } else if (!config_.train.initialise_from.empty()) {
    const StoredModelInfo origin =
        read_initial_weights(runtime_.world(), config_, context_.tokenizer_digest, parameters_);
    log::info("starting with the weights of {}, step {}", origin.folder.string(), origin.step);
    parameters_.refresh_compute_copies();
  } else {
    parameters_.initialise(static_cast<std::uint64_t>(config_.train.seed), runtime_.threads());
  }
  if (evaluator_) evaluator_->rehearse();
  return state_.progress.step;
}

TrainOutcome Trainer::run() {
  enter("training");
  while (state_.progress.step < config_.train.steps) {
    const StepReport report = step();
    enter("training");
    const StepActions actions = planner_.decide(report.step, stop_.requested(), 1e-3 * report.step_ms);
    obey(actions, report);
    if (actions.stop) return TrainOutcome::Stopped;
  }
  return TrainOutcome::Finished;
}

StepReport Trainer::step() {
  TraceScope trace("trainer.step");
  const auto start = Clock::now();
  const double exposed_before_s = execution_.ring.transport.exposed_s();
  const std::int64_t step = state_.progress.step + 1;

  parameters_.zero_gradients();
  sums_.clear();
  LossSum mine;
  for (std::int64_t round = 0; round < num_rounds(); ++round) forward_backward(round, mine);
  sums_.take_squares(StepSums::Of::ThisRank);
  runtime_.world_transport().all_reduce(execution_.compute, parameters_.all_gradients(), execution_.scratch);
  sums_.take_squares(StepSums::Of::AllRanks);
  sums_.fetch();  // the one place of a step where the host waits for the device
  mine.loss = sums_.loss();
  stop_if_not_finite(mine.loss);
  const double exposed_s = execution_.ring.transport.exposed_s() - exposed_before_s;

  // loss = sum over all ranks / all targets; so is the gradient
  const LossSum all = sum_over_ranks(mine);
  const double per_target = 1.0 / static_cast<double>(std::max<std::int64_t>(1, all.num_targets));
  const double norm = per_target * sums_.gradient_norm();
  optimizer_.update(config_.train, step, per_target * clip_factor(norm, config_.train.clip_norm));

  TrainingProgress& progress = state_.progress;
  const std::int64_t tokens = config_.train.batch_sequences * config_.data.sequence_length;
  progress.step = step;
  progress.tokens_seen += tokens;
  progress.loader_position += config_.train.batch_sequences;
  const double step_s = seconds_since(start);
  smoothed_step_s_ = smoothed_step_s_ == 0 ? step_s : 0.9 * smoothed_step_s_ + 0.1 * step_s;
  return {.step = step,
          .num_steps = config_.train.steps,
          .loss = all.loss * per_target,
          .gradient_norm = norm,
          .learning_rate = learning_rate_at(config_.train, step),
          .tokens = tokens,
          .tokens_seen = progress.tokens_seen,
          .step_ms = 1e3 * step_s,
          .exposed_communication_ms = 1e3 * exposed_s,
          .model_flops = model_flops(shape_, static_cast<double>(tokens), all.attended_pairs),
          .eta_s = smoothed_step_s_ * static_cast<double>(config_.train.steps - step)};
}

// A span of the round-th sequence of this rank's ring in this step.
void Trainer::load(std::int64_t round, std::int64_t span) {
  TraceScope trace("trainer.load");
  const std::int64_t sequence =
      state_.progress.loader_position + round * runtime_.grid().data_size() + runtime_.grid().data_index();
  const SequenceLayout layout = spans_.layout(span);
  loader_.load_into(sequence, layout.runs(execution_.ring.rank()), sequence_);
  span_ = std::make_unique<Span>(layout, mask_rule_of(config_.model), execution_.ring.rank(),
                                 sequence_.document_offsets, spans_.sequence_tokens());
  const auto [tokens, targets] = batch();
  execution_.device.copy(execution_.compute, tokens.data, sequence_.tokens.data(), tokens.size_bytes());
  execution_.device.copy(execution_.compute, targets.data, sequence_.targets.data(), targets.size_bytes());
}

TokenBatch Trainer::batch() const {
  return {tokens_.view().rows(0, span_->num_tokens()), targets_.view().rows(0, span_->num_tokens())};
}

void Trainer::forward_backward(std::int64_t round, LossSum& sum) {
  if (!span_states_) return forward_backward_span(round, 0, nullptr, nullptr, sum);
  span_states_->walk(
      [&](std::int64_t span, SequenceFlow state) {
        load(round, span);
        model_.advance(*span_, batch().tokens, state);
        enter("training");
      },
      [&](std::int64_t span, const SequenceState* before, SequenceState* d_state) {
        forward_backward_span(round, span, before, d_state, sum);
        enter("training");
      });
}

void Trainer::forward_backward_span(std::int64_t round, std::int64_t span, const SequenceState* before,
                                    SequenceState* d_state, LossSum& sum) {
  load(round, span);
  const TensorView losses = losses_.view().rows(0, span_->num_tokens());
  model_.forward_backward(*span_, batch(), losses, before, d_state);
  sums_.add_losses(losses);
  sum.num_targets += sequence_.num_targets_local;
  sum.attended_pairs += attended_pairs(shape_, *span_);
}

Trainer::LossSum Trainer::sum_over_ranks(const LossSum& mine) const {
  LossSum all;
  for (double loss : runtime_.world().all_gather(mine.loss)) all.loss += loss;  // in rank order
  for (double pairs : runtime_.world().all_gather(mine.attended_pairs)) all.attended_pairs += pairs;
  all.num_targets = runtime_.world().sum(mine.num_targets);
  return all;
}

void Trainer::obey(const StepActions& actions, const StepReport& report) {
  if (runtime_.world().rank() == 0 && on_step) on_step(report);
  if (actions.log) {
    log::info("{}", step_line(report));
    const PeakMemory mine = peak_memory_of(execution_.device.memory());
    record(report.step, metrics_record(report, largest_of_ranks(runtime_.world(), mine)));
  }
  if (actions.evaluate) evaluate();
  if (actions.checkpoint) save();
  enter("training");
  if (actions.stop) log::info("stopping early after step {}: the state is saved", report.step);
}

void Trainer::evaluate() {
  if (!evaluator_) return;
  enter("evaluation");
  MemoryWatch watch(shape_.layers);
  const bool has_memory = config_.model.has_memory();
  if (has_memory) model_.watch(&watch);
  const EvaluationResult result = evaluator_->run();
  model_.watch(nullptr);
  const std::int64_t step = state_.progress.step;
  log::info("step {:>7}    validation loss {:.4f} nats, {:.4f} bits per {}", step, result.loss, result.bits_per_unit(),
            corpus_.tokenizer().unit());
  const MemoryRecord memory = has_memory ? memory_record(watch) : MemoryRecord{};
  record(step, validation_record(step, result.loss, result.num_targets, has_memory ? &memory : nullptr));
}

// Over all ranks.
MemoryRecord Trainer::memory_record(const MemoryWatch& watch) {
  MemoryRecord record;
  record.gate_histogram = gate_histogram(execution_, parameters_);
  for (const double smallest : runtime_.world().all_gather(watch.smallest_normaliser())) {
    record.smallest_normaliser = std::min(record.smallest_normaliser, smallest);
  }
  for (const double mine : watch.norms()) {
    const std::vector<double> norms = runtime_.world().all_gather(mine);
    record.norms.push_back(*std::ranges::max_element(norms));
  }
  return record;
}

void Trainer::record(std::int64_t step, const std::string& text) const {
  if (runtime_.world().rank() == 0 && on_record) on_record(step, text);
}

void Trainer::enter(std::string_view phase) const {
  if (on_phase) on_phase(phase, state_.progress.step);
}

void Trainer::save() {
  enter("save");
  TraceScope trace("trainer.save");
  const auto start = Clock::now();
  checkpoints_.write(runtime_.world(), state_.progress.step, state_.tensors(), state_.metadata(context_));
  checkpoints_.prune(runtime_.world(), config_.checkpoint.keep);
  planner_.checkpoint_written(seconds_since(start));
  log::info("checkpoint {} ({:.1f} s)", checkpoints_.step_folder(state_.progress.step).string(), seconds_since(start));
}

}  // namespace rondo

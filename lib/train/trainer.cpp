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
      sums_(execution_, parameters_, num_micro_batches()),
      state_(parameters_, optimizer_),
      loader_(corpus, Split::Train,
              {.sequence_length = config.data.sequence_length,
               .seed = static_cast<std::uint64_t>(config.train.seed),
               .isolate_documents = config.data.isolate_documents,
               .whole_documents = config.data.whole_documents}),
      validation_(runtime, model_, parameters_, config_, corpus),
      checkpoints_(checkpoints),
      origin_{.config_toml = to_toml(config_),
              .seed = config_.train.seed,
              .tokenizer_json = corpus.tokenizer().to_json(),
              .tokenizer_digest = corpus.tokenizer_digest(),
              .corpus_digest = corpus.tokens_digest(Split::Train)},
      planner_(runtime.world(), config_) {
  const std::int64_t tokens = spans_.most_tokens(execution_.ring.rank());
  tokens_ = token_buffer(execution_.device, tokens, DType::Int32);
  targets_ = token_buffer(execution_.device, tokens, DType::Int32);
  losses_ = token_buffer(execution_.device, tokens, parameters_.master_dtype());
  if (spans_.count() > 1) {
    span_states_ = std::make_unique<SpanStates>(execution_, model_, spans_.count(), spans_.sequence_tokens(),
                                                config.memory.span_states_mib << 20);
  }
}

std::int64_t Trainer::restore_or_initialise() {
  const Communicator& world = runtime_.world();
  checkpoints_.remove_leftovers(world);
  if (const auto newest = checkpoints_.newest_valid(world)) {
    const std::filesystem::path folder = checkpoints_.step_folder(*newest);
    const CheckpointReader reader = CheckpointReader::open(world, folder);
    reader.read(world, state_.tensors());
    state_.resume(CheckpointMetadata::from_json(reader.metadata(), folder.string()));
    parameters_.refresh_compute_copies();
  } else if (!config_.train.initialise_from.empty()) {
    const StoredModelInfo stored = read_initial_weights(world, config_, origin_.tokenizer_digest, parameters_);
    log::info("starting with the weights of {}, step {}", stored.folder.string(), stored.step);
    parameters_.refresh_compute_copies();
  } else {
    parameters_.initialise(static_cast<std::uint64_t>(config_.train.seed));
  }
  validation_.warm_up();
  if (state_.progress.step < config_.train.steps) {
    checkpoints_.require_room(world, state_.tensors(), state_.metadata(origin_));
  }
  return state_.progress.step;
}

TrainOutcome Trainer::run() {
  enter_phase("training");
  while (state_.progress.step < config_.train.steps) {
    const StepReport report = step();
    enter_phase("training");
    const StepActions actions = planner_.decide(report.step, stop_.requested(), 1e-3 * report.step_ms);
    perform(actions, report);
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
  for (std::int64_t i = 0; i < num_micro_batches(); ++i) forward_backward(i, mine);
  sums_.sum_squares(StepSums::Of::ThisRank);
  runtime_.world_transport().all_reduce(execution_.compute, parameters_.all_gradients(), execution_.scratch);
  sums_.sum_squares(StepSums::Of::AllRanks);
  sums_.fetch();  // the one place of a step where the host waits for the device
  stop_if_not_finite();
  mine.loss = sums_.loss();
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

// A span of the sequence that this rank's ring has as that micro-batch of this step.
void Trainer::load(std::int64_t micro_batch, std::int64_t span) {
  TraceScope trace("trainer.load");
  const std::int64_t sequence =
      state_.progress.loader_position + micro_batch * runtime_.grid().data_size() + runtime_.grid().data_index();
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

void Trainer::forward_backward(std::int64_t micro_batch, LossSum& sum) {
  if (!span_states_) return forward_backward_span(micro_batch, 0, nullptr, nullptr, sum);
  span_states_->walk(
      [&](std::int64_t span, SequenceFlow state) {
        load(micro_batch, span);
        model_.advance(*span_, batch().tokens, state);
        enter_phase("training");
      },
      [&](std::int64_t span, const SequenceState* before, SequenceState* d_state) {
        forward_backward_span(micro_batch, span, before, d_state, sum);
        enter_phase("training");
      });
}

void Trainer::forward_backward_span(std::int64_t micro_batch, std::int64_t span, const SequenceState* before,
                                    SequenceState* d_state, LossSum& sum) {
  load(micro_batch, span);
  const TensorView losses = losses_.view().rows(0, span_->num_tokens());
  model_.forward_backward(*span_, batch(), losses, before, d_state);
  sums_.add_losses(micro_batch, losses);
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

void Trainer::perform(const StepActions& actions, const StepReport& report) {
  if (runtime_.world().rank() == 0 && on_step) on_step(report);
  std::exception_ptr metrics_error;
  if (actions.log) {
    log::info("{}", step_line(report));
    const PeakMemory mine = peak_memory_of(execution_.device.memory());
    metrics_error = write_metrics(metrics_of(report, largest_of_ranks(runtime_.world(), mine)));
  }
  if (actions.checkpoint) save();  // before anything that may fail ends the run
  if (metrics_error) std::rethrow_exception(metrics_error);
  if (actions.evaluate) evaluate(actions.finish);
  enter_phase("training");
  if (actions.stop) log::info("stopping early after step {}: the state is saved", report.step);
}

void Trainer::evaluate_if_due() {
  const std::int64_t step = state_.progress.step;
  if (step > 0 && planner_.evaluates_after(step)) evaluate(step == config_.train.steps);
}

void Trainer::evaluate(bool is_final) {
  if (!validation_.problem().empty()) return;
  try {
    enter_phase("evaluation");
    const ValidationRecord result = validation_.run(state_.progress.step);
    if (const auto error = write_metrics(result)) std::rethrow_exception(error);
  } catch (const std::exception& error) {
    // The run has reached its end and is saved. An error that other ranks do not know of leaves them waiting for this one.
    const bool all_know = runtime_.world().size() == 1 || dynamic_cast<const AgreedError*>(&error) != nullptr;
    if (!is_final || !all_know) throw;
    final_evaluation_error_ = std::string("the evaluation after the last step failed: ") + error.what();
    if (runtime_.world().rank() == 0)
      log::warning("the checkpoint of step {} is committed, but {}", state_.progress.step, final_evaluation_error_);
  }
}

void Trainer::save() {
  enter_phase("save");
  TraceScope trace("trainer.save");
  const auto start = Clock::now();
  checkpoints_.write(runtime_.world(), state_.progress.step, state_.tensors(), state_.metadata(origin_));
  checkpoints_.prune(runtime_.world(), config_.checkpoint.keep);
  planner_.checkpoint_written(seconds_since(start));
  log::info("checkpoint {} ({:.1f} s)", checkpoints_.step_folder(state_.progress.step).string(), seconds_since(start));
}

std::exception_ptr Trainer::write_metrics(const MetricsRecord& metrics) const {
  if (runtime_.world().rank() != 0 || !on_metrics) return nullptr;
  try {
    on_metrics(metrics);
    return nullptr;
  } catch (const Error&) {
    return std::current_exception();
  }
}

void Trainer::enter_phase(std::string_view phase) const {
  if (on_phase) on_phase(phase, state_.progress.step);
}

}  // namespace rondo

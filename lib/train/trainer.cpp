// SPDX-License-Identifier: Apache-2.0
#include "train/trainer.hpp"

#include <chrono>
#include <cmath>

#include "config/print.hpp"
#include "core/log.hpp"
#include "core/trace.hpp"
#include "io/checkpoint_reader.hpp"
#include "train/initial_weights.hpp"
#include "train/schedule.hpp"

namespace rondo {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

}  // namespace

Trainer::Trainer(Runtime& runtime, const RunConfig& config, const TokenCorpus& corpus, const StopSignal& stop,
                 const std::filesystem::path& checkpoints)
    : runtime_(runtime),
      execution_(runtime.execution()),
      config_(config),
      corpus_(corpus),
      stop_(stop),
      step_(execution_, runtime.world_transport(), config_),
      state_(step_.parameters(), step_.optimizer()),
      loader_(corpus, Split::Train,
              {.sequence_length = config.data.sequence_length,
               .seed = static_cast<std::uint64_t>(config.train.seed),
               .isolate_documents = config.data.isolate_documents,
               .whole_documents = config.data.whole_documents}),
      validation_(runtime, step_.model(), step_.parameters(), config_, corpus),
      checkpoints_(checkpoints),
      origin_{.config_toml = to_toml(config_),
              .seed = config_.train.seed,
              .tokenizer_json = corpus.tokenizer().to_json(),
              .tokenizer_digest = corpus.tokenizer_digest(),
              .corpus_digest = corpus.tokens_digest(Split::Train)},
      planner_(runtime.world(), config_) {}

std::int64_t Trainer::restore_or_initialise() {
  const Communicator& world = runtime_.world();
  checkpoints_.remove_leftovers(world);
  if (const auto newest = checkpoints_.newest_valid(world)) {
    const std::filesystem::path folder = checkpoints_.step_folder(*newest);
    const CheckpointReader reader = CheckpointReader::open(world, folder);
    reader.read(world, state_.tensors());
    state_.resume(CheckpointMetadata::from_json(reader.metadata(), folder.string()));
    parameters().refresh_compute_copies();
  } else if (!config_.train.initialise_from.empty()) {
    const StoredModelInfo stored = read_initial_weights(world, config_, origin_.tokenizer_digest, parameters());
    log::info("starting with the weights of {}, step {}", stored.folder.string(), stored.step);
    parameters().refresh_compute_copies();
  } else {
    parameters().initialise(static_cast<std::uint64_t>(config_.train.seed), runtime_.threads());
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

  step_.begin();
  LossSum mine;
  for (std::int64_t i = 0; i < num_micro_batches(); ++i) step_.forward_backward(i, micro_batch(i, mine));
  step_.sum_gradients();  // the only place of a step where the host waits for the device
  stop_if_not_finite();
  mine.loss = step_.sums().loss();
  const double exposed_s = execution_.ring.transport.exposed_s() - exposed_before_s;

  // loss and gradient are sums over all ranks, divided by the number of all targets
  const LossSum all = sum_over_ranks(mine);
  const double per_target = 1.0 / static_cast<double>(std::max<std::int64_t>(1, all.num_targets));
  const double norm = per_target * step_.sums().gradient_norm();
  step_.update(step, per_target * clip_factor(norm, config_.train.clip_norm));

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
          .model_flops = model_flops(shape(), static_cast<double>(tokens), all.attended_pairs),
          .eta_s = smoothed_step_s_ * static_cast<double>(config_.train.steps - step)};
}

// The tokens of a micro-batch: one sequence of this rank's ring in this step.
SequenceInput Trainer::micro_batch(std::int64_t index, LossSum& sum) {
  const std::int64_t sequence =
      state_.progress.loader_position + index * runtime_.grid().data_size() + runtime_.grid().data_index();
  const auto load = [this, sequence](const TokenRuns& runs) -> SpanInput {
    loader_.load_into(sequence, runs, sequence_);
    return {sequence_.tokens.data(), sequence_.targets.data(), sequence_.document_offsets};
  };
  const auto on_span = [this, &sum](const Span& span, SequenceInput::Pass pass) {
    if (pass == SequenceInput::Pass::ForwardAndBackward) {
      sum.num_targets += sequence_.num_targets_local;
      sum.attended_pairs += step_.model().attended_pairs(span);
    }
    if (step_.spans().count() > 1) enter_phase("training");
  };
  return {load, on_span};
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
    // The run is complete and saved. But an error of this rank alone must end it, since the other ranks wait for this one.
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

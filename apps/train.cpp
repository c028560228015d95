// SPDX-License-Identifier: Apache-2.0
// `rondo train`: trains one stage; the same line starts a run and goes on with it.
#include <cstdio>
#include <filesystem>
#include <memory>
#include <spdlog/fmt/fmt.h>
#include <unistd.h>

#include "apps/commands.hpp"
#include "apps/ranks.hpp"
#include "apps/run_start.hpp"
#include "config/print.hpp"
#include "core/log.hpp"
#include "core/trace.hpp"
#include "io/trace_file.hpp"
#include "model/ring_check.hpp"
#include "model/shape_of.hpp"
#include "train/stall_watchdog.hpp"
#include "train/trainer.hpp"

namespace rondo {

namespace {

constexpr int kStoppedEarly = 75;

// A line that overwrites itself, on a terminal only; batch logs have the step lines.
void show_live(const StepReport& report) {
  std::fprintf(stderr, "\r%s\033[K%s", step_line(report).c_str(), report.step == report.num_steps ? "\n" : "\r");
}

void describe(const TrainingInput& start, const RunFolder& folder, const Runtime& runtime, Trainer& trainer) {
  const std::int64_t step = trainer.state().progress.step;
  log::info("configuration:\n{}", to_toml(start.config));
  log::info("{}", runtime.description());
  log::info("{:.3f} M parameters, {} tokens a step, corpus {}: {} training tokens in {} documents",
            1e-6 * static_cast<double>(num_parameters(trainer.shape())),
            start.config.train.batch_sequences * start.config.data.sequence_length, start.corpus->path(),
            start.corpus->num_tokens(Split::Train), start.corpus->num_documents(Split::Train));
  if (step > 0) log::info("going on from step {} in {}", step, folder.checkpoints().string());
}

void self_check(Runtime& runtime, const RunConfig& config) {
  const TransformerShape shape = shape_of(config);
  Runtime one(Communicator::self(), {.device = DeviceChoice::Reference, .threads = 1});
  check_ring(runtime.world(), runtime.execution(), one.execution(),
             {.dtype = dtype_of_compute(config.precision.compute),
              .layout = *config.parallel.layout,
              .heads = shape.heads,
              .kv_heads = shape.kv_heads,
              .head_dim = shape.head_dim,
              .window = config.model.window});
  log::info("self-check: ring attention over these ranks is right");
}

// The phases kept so far, if any, go to trace/rank-N.json.
void write_trace(const RunFolder& run, const Communicator& world) {
  const std::vector<TraceEvent> events = take_trace_events();
  if (events.empty()) return;
  const auto folder = run.path() / "trace";
  std::filesystem::create_directories(folder);
  write_trace_file(folder / ("rank-" + std::to_string(world.rank()) + ".json"), world.rank(), host_name(), events);
}

int train(MpiSession& session, const TrainOptions& options, RunRecord& record) {
  const Communicator& world = session.world();
  const RunFolder& folder = record.take_folder(world, run_path(options));
  StopSignal stop(world);
  session.set_watch([&stop] { stop.poll(); });
  const TrainingInput start = start_run(world, options, folder);
  Runtime runtime(world, runtime_options(start.config));
  runtime.add_progress([&stop] { stop.poll(); });

  if (start.config.parallel.self_check) self_check(runtime, start.config);

  Trainer trainer(runtime, start.config, *start.corpus, stop, folder.checkpoints());
  const std::int64_t first_step = trainer.begin();
  describe(start, folder, runtime, trainer);
  if (world.rank() == 0) folder.rewind_metrics(first_step);
  trainer.on_record = [&](std::int64_t, const std::string& text) { folder.append_metrics(text); };
  trainer.on_step = [&, live = isatty(STDERR_FILENO) != 0](const StepReport& report) {
    folder.beat(report.step);
    if (live) show_live(report);
  };
  StallWatchdog watchdog(world, folder, {.limit_s = start.config.train.stall_timeout});
  keep_trace_events(start.config.log.trace_steps > 0);
  trainer.on_phase = [&](std::string_view phase, std::int64_t step) {
    record.at(phase, step);
    watchdog.at(phase, step);
    stop.set_answer_time(phase == "save" ? StopSignal::kAnswerInSave : StopSignal::kPromptAnswer);
    if (step == first_step + start.config.log.trace_steps) write_trace(folder, world);
  };
  const bool finished = first_step >= start.config.train.steps || trainer.run() == TrainOutcome::Finished;
  if (first_step >= start.config.train.steps) log::info("the run is finished: {} steps are done", first_step);
  write_trace(folder, world);  // of a run that ended before
  log::debug("{}", trace_table());
  record.end(finished ? "finished" : "stopped", finished ? 0 : kStoppedEarly);
  return finished ? 0 : kStoppedEarly;
}

}  // namespace

void add_train(Program& program) {
  auto options = std::make_shared<TrainOptions>();
  CLI::App* command =
      add_command(program, program.app,
                  {"train", "Train a model; the same line starts a run and goes on with it.",
                   "mpirun -n 2 rondo train configs/tiny.toml --set data.corpus=corpus.h5 --run runs/first"},
                  [options] {
                    RunRecord record;
                    return run_on_ranks([&](MpiSession& session) { return train(session, *options, record); },
                                        [&](const Error& error, bool rank_alone) { record.fail(error, rank_alone); });
                  });
  add_config_options(*command, options->config);
  command->add_option("--run", options->run, "the run folder; runs/<name of CONFIG> if not given")->type_name("DIR");
  command->add_option("--time-limit", options->time_limit, "save and end with 75 before this time, e.g. 23h40m")
      ->type_name("TIME");
  command->add_flag("--allow-change", options->allow_change, "go on although learning rate, schedule or batch changed");
}

}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
// `rondo train`: trains one stage or several; the same command line starts a run and resumes it.
#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "apps/commands.hpp"
#include "apps/exit_reporter.hpp"
#include "apps/live_line.hpp"
#include "apps/ranks.hpp"
#include "apps/run_extras.hpp"
#include "apps/run_start.hpp"
#include "config/value.hpp"
#include "core/log.hpp"
#include "core/trace.hpp"
#include "train/run_trace.hpp"
#include "train/stall_watchdog.hpp"
#include "train/trainer.hpp"

namespace rondo {

namespace {

// Trains one stage.
int train(MpiSession& session, const TrainOptions& options, ExitReporter& reporter) {
  const RunFolder& folder = reporter.lock_folder(session, run_path(options));
  const Communicator& world = session.world();
  StopSignal stop(world);
  session.set_watch([&stop] { stop.poll(); });
  const TrainingInput input = open_run_input(world, options, folder);
  Runtime runtime(world, runtime_options(input.config));
  runtime.add_progress([&stop] { stop.poll(); });
  const StartRecord start = choose_kernels(runtime, input);
  if (input.config.parallel.self_check) self_check(runtime, input.config);

  Trainer trainer(runtime, input.config, *input.corpus, stop, folder.checkpoints());
  const std::int64_t first_step = trainer.restore_or_initialise();
  log_start(input, folder, runtime, trainer);
  if (world.rank() == 0) record_start(folder, input.config, start, first_step);

  const LiveLine live;
  StallWatchdog watchdog(world, folder, {.limit_s = input.config.train.stall_timeout});
  RunTrace trace(runtime, folder.path(), first_step, input.config.log.trace_steps);
  trainer.on_metrics = [&](const MetricsRecord& metrics) { folder.append_metrics(metrics); };
  trainer.on_step = [&](const StepReport& report) {
    folder.write_heartbeat(report.step);
    live.show(step_line(report));
  };
  trainer.on_phase = [&](std::string_view phase, std::int64_t step) {
    reporter.set_phase(phase, step);
    watchdog.at(phase, step);
    stop.set_answer_time(phase == "save" ? StopSignal::kAnswerInSave : StopSignal::kPromptAnswer);
    trace.at(step);
  };
  if (lacks_validation(world, folder, first_step)) trainer.evaluate_if_due();
  const bool finished = first_step >= input.config.train.steps || trainer.run() == TrainOutcome::Finished;
  trace.write();  // if the run ended before its last traced step
  if (finished) log_what_next(input, folder, trainer.progress().step);
  log::debug("{}", trace_table());
  session.set_watch({});
  return reporter.report_end(finished, trainer.final_evaluation_error());
}

// Trains stage after stage, each in its own folder within the run's, initialised from the previous stage's weights. A stage
// that has already finished returns at once.
int train_stages(MpiSession& session, const TrainOptions& options, const std::vector<std::string>& configs,
                 ExitReporter& reporter) {
  TrainOptions stage = options;
  stage.config.path = configs.front();
  if (configs.size() == 1) return train(session, stage, reporter);
  const auto begun = std::chrono::steady_clock::now();
  const std::filesystem::path run = run_path(stage);
  std::filesystem::path before;
  for (std::size_t i = 0; i < configs.size(); ++i) {
    stage = options;
    stage.config.path = configs[i];
    if (i > 0) stage.config.overrides.push_back("train.initialise_from=" + before.string());
    stage.later_stages.assign(configs.begin() + static_cast<std::ptrdiff_t>(i) + 1, configs.end());
    if (const auto limit = parse_duration(options.time_limit)) {  // for all stages together
      const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begun;
      stage.time_limit = print_duration(std::max(1e-3, *limit - elapsed.count()));
    }
    before = stage_folder(run, static_cast<int>(i) + 1, configs[i]);
    stage.run = before.string();
    const int code = train(session, stage, reporter);
    if (code != 0) return code;
  }
  return 0;
}

}  // namespace

void add_train(Program& program) {
  auto options = std::make_shared<TrainOptions>();
  auto configs = std::make_shared<std::vector<std::string>>();
  CLI::App* command = add_command(
      program, program.app,
      {"train", "Train a model; the same line starts a run and goes on with it.",
       "mpirun -n 2 rondo train configs/tiny.toml --set data.corpus=corpus.h5 --run runs/first"},
      [options, configs] {
        ExitReporter reporter;
        return run_on_ranks([&](MpiSession& session) { return train_stages(session, *options, *configs, reporter); },
                            [&](const Error& error, bool rank_alone) { reporter.report_error(error, rank_alone); });
      });
  command
      ->add_option(
          "config", *configs,
          "configuration file (TOML), see docs/reference/configuration.md; of several, stages, each begins with the "
          "weights of the one before")
      ->required()
      ->expected(1, -1)
      ->type_name("CONFIG");
  add_overrides(*command, options->config.overrides);
  command->add_option("--run", options->run, "the run folder; runs/<name of the first CONFIG> if not given")
      ->check([](const std::string& folder) { return folder.empty() ? "names no folder" : ""; })
      ->type_name("DIR");
  command->add_option("--time-limit", options->time_limit, "save and end with 75 before this time, e.g. 23h40m")
      ->type_name("TIME");
  command->add_flag("--allow-change", options->allow_change, "go on although learning rate, schedule or batch changed");
}

}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
// `rondo train`: trains one stage or several; the same line starts a run and goes on with it.
#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "apps/commands.hpp"
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

constexpr int kStoppedEarly = 75;

// One stage.
int train(MpiSession& session, const TrainOptions& options, RunRecord& record) {
  const RunFolder& folder = record.take_folder(session, run_path(options));
  const Communicator& world = session.world();
  StopSignal stop(world);
  session.set_watch([&stop] { stop.poll(); });
  const TrainingInput start = start_run(world, options, folder);
  Runtime runtime(world, runtime_options(start.config));
  runtime.add_progress([&stop] { stop.poll(); });
  const StartRecord machine = settle_machine(runtime, start);

  if (start.config.parallel.self_check) self_check(runtime, start.config);

  Trainer trainer(runtime, start.config, *start.corpus, stop, folder.checkpoints());
  const std::int64_t first_step = trainer.begin();
  describe(start, folder, runtime, first_step);
  if (world.rank() == 0) take_up(folder, start.config, machine, first_step);
  trainer.on_record = [&](std::int64_t, const std::string& text) { folder.append_metrics(text); };
  const LiveLine live;
  trainer.on_step = [&](const StepReport& report) {
    folder.beat(report.step);
    live.show(step_line(report));
  };
  StallWatchdog watchdog(world, folder, {.limit_s = start.config.train.stall_timeout});
  RunTrace trace(runtime, folder.path(), first_step, start.config.log.trace_steps);
  trainer.on_phase = [&](std::string_view phase, std::int64_t step) {
    record.at(phase, step);
    watchdog.at(phase, step);
    stop.set_answer_time(phase == "save" ? StopSignal::kAnswerInSave : StopSignal::kPromptAnswer);
    trace.at(step);
  };
  const bool finished = first_step >= start.config.train.steps || trainer.run() == TrainOutcome::Finished;
  trace.write();  // of a run that ended before
  if (finished) say_what_next(start, folder, trainer.state().progress.step);
  log::debug("{}", trace_table());
  record.end(finished ? "finished" : "stopped", finished ? 0 : kStoppedEarly);
  session.set_watch({});
  return finished ? 0 : kStoppedEarly;
}

// Stage after stage, each in a folder of its own in the run's and with the weights that the one before has left. One that has
// finished ends again at once.
int train_stages(MpiSession& session, const TrainOptions& options, const std::vector<std::string>& configs,
                 RunRecord& record) {
  TrainOptions stage = options;
  stage.config.path = configs.front();
  if (configs.size() == 1) return train(session, stage, record);
  const auto begun = std::chrono::steady_clock::now();
  const std::filesystem::path run = run_path(stage);
  std::filesystem::path before;
  for (std::size_t i = 0; i < configs.size(); ++i) {
    stage = options;
    stage.config.path = configs[i];
    if (i > 0) stage.config.overrides.push_back("train.initialise_from=" + before.string());
    if (const auto limit = parse_duration(options.time_limit)) {  // of all stages
      const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begun;
      stage.time_limit = print_duration(std::max(1e-3, *limit - elapsed.count()));
    }
    before = stage_folder(run, static_cast<int>(i) + 1, configs[i]);
    stage.run = before.string();
    const int code = train(session, stage, record);
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
        RunRecord record;
        return run_on_ranks([&](MpiSession& session) { return train_stages(session, *options, *configs, record); },
                            [&](const Error& error, bool rank_alone) { record.fail(error, rank_alone); });
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

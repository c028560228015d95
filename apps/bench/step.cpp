// SPDX-License-Identifier: Apache-2.0
// `rondo bench step`: training steps of a configuration as in `rondo train`, without a run folder.
#include <memory>

#include "apps/bench/cases.hpp"
#include "apps/bench/harness.hpp"
#include "apps/bench/peak.hpp"
#include "apps/ranks.hpp"
#include "apps/run_start.hpp"
#include "model/shape_of.hpp"
#include "train/trainer.hpp"

namespace rondo::bench {

namespace {

struct StepOptions {
  RunOptions run;
  ConfigOptions config;
};

int run(MpiSession& session, const StepOptions& options) {
  const Communicator& world = session.world();
  StopSignal stop(world);
  session.set_watch([&stop] { stop.poll(); });
  TrainingInput input = open_training_input(world, options.config);
  input.config.train.steps = std::max<std::int64_t>(input.config.train.steps, options.run.warm_ups + options.run.runs);
  if (options.run.threads > 0) input.config.parallel.threads = options.run.threads;
  Runtime runtime(world, runtime_options(input.config));
  runtime.add_progress([&stop] { stop.poll(); });

  std::vector<Peak> peaks;
  if (options.run.peak) {
    const DType dtype = dtype_of_compute(input.config.precision.compute);
    agree_on(world, [&] { dtype_from(std::string(name_of(dtype))); });
    peaks.push_back(measure_peak(runtime, dtype, options.run));
  }

  Trainer trainer(runtime, input.config, *input.corpus, stop, "");
  trainer.parameters().initialise(static_cast<std::uint64_t>(input.config.train.seed), runtime.threads());
  std::vector<StepReport> reports;
  const Timing timing = measure_on_ranks(runtime, options.run, {[] {}, [&] { reports.push_back(trainer.step()); }});
  reports.erase(reports.begin(), reports.begin() + options.run.warm_ups);
  std::vector<double> exposed_ms;
  for (const StepReport& report : reports) {
    exposed_ms.push_back(1e-6 * static_cast<double>(world.max(std::llround(1e6 * report.exposed_communication_ms))));
  }
  double flop = 0;
  for (const StepReport& report : reports) flop += report.model_flops / static_cast<double>(reports.size());
  const MemoryLedger& memory = runtime.execution().device.memory();
  const Result result{
      .parameters = {{"config", options.config.path},
                     {"ranks", world.size()},
                     {"compute", word_of(input.config.precision.compute)},
                     {"layout", name_of(*input.config.parallel.layout)},
                     {"sequence_length", input.config.data.sequence_length},
                     {"batch_sequences", input.config.train.batch_sequences},
                     {"parameters", num_parameters(trainer.shape())}},
      .formula = "6 a parameter that multiplies and token, 12 N D for each query and key that attend; no recomputation",
      .flop = flop,
      .timing = timing,
      .peak_flops_per_s = peaks.empty() ? 0 : peaks.front().flops_per_s,
      .figures = {{"tokens_per_s", static_cast<double>(reports.front().tokens) / timing.median_s()},
                  {"exposed_communication_ms", median(exposed_ms)},
                  {"peak_bytes_of_a_rank", world.max(static_cast<std::int64_t>(memory.peak_total_bytes()))}}};
  if (world.rank() == 0) report("step", options.run, runtime, peaks, {&result, 1});
  return 0;
}

}  // namespace

void add_step(Program& program, CLI::App& group) {
  auto options = std::make_shared<StepOptions>();
  CLI::App* command =
      add_command(program, group,
                  {"step", "Training steps of a configuration, as `rondo train` takes them.",
                   "mpirun -n 2 rondo bench step configs/tiny.toml --set data.corpus=corpus.h5"},
                  [options] { return run_on_ranks([&](MpiSession& session) { return run(session, *options); }); });
  add_config_options(*command, options->config);
  add_peak_option(*command, options->run);
  add_run_options(*command, options->run);
}

}  // namespace rondo::bench

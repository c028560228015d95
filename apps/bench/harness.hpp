// SPDX-License-Identifier: Apache-2.0
// Shared by the cases of `rondo bench`: options, opening the runtime, timing, and reports as table or JSON.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "apps/options.hpp"
#include "core/dtype.hpp"
#include "runtime/runtime.hpp"

namespace rondo::bench {

/// Options of every case, and those that several cases have.
struct RunOptions {
  int warm_ups = 2, runs = 7;
  int threads = 0;  // 0: this rank's part of the cores
  std::string device = "cpu", attention_kernel = "auto", transport = "auto";
  bool deterministic = false, peak = false, check = false, json = false;
  std::vector<std::int64_t> peak_sizes;  // empty: the defaults of the device
};
void add_run_options(CLI::App& command, RunOptions& options);
void add_device_options(CLI::App& command, RunOptions& options);
/// Adds the options for how a GPU computes attention.
void add_attention_options(CLI::App& command, RunOptions& options);
void add_dtype_option(CLI::App& command, std::vector<std::string>& dtypes);
/// --peak, for cases that run over several ranks; the peak is that of all ranks together.
void add_peak_option(CLI::App& command, RunOptions& options);
void add_check_option(CLI::App& command, RunOptions& options);

/// The runtime options for a case.
RuntimeOptions machine_options(const RunOptions& options);
/// The reference backend, for --check.
RuntimeOptions reference_options();

/// Seconds of the timed runs, in their order.
struct Timing {
  std::vector<double> seconds;
  double launch_s = 0;  // median host time to launch a run on a GPU; 0 on CPUs

  double median_s() const;
  double fastest_s() const;
  double slowest_s() const;
  /// (slowest - fastest) / median
  double spread() const { return (slowest_s() - fastest_s()) / median_s(); }
};

/// What is timed: `prepare` runs before each call of `body` and is not timed. Both enqueue work on the compute stream.
struct Contender {
  std::function<void()> prepare, body;
};

/// Times the contender after warm-up runs; on a GPU between two events around the body, so without host waits.
Timing measure(Execution& execution, const RunOptions& options, const Contender& contender);
/// The same for several contenders in turn, so that disturbances affect all of them alike.
std::vector<Timing> measure_in_turns(Execution& execution, const RunOptions& options,
                                     std::span<const Contender> contenders);
/// Times by the host's clock over ranks that start together: a run ends when the slowest rank and its GPU are done. Collective.
Timing measure_on_ranks(Runtime& runtime, const RunOptions& options, const Contender& contender);
/// The median; for an even number of values, the upper of the two middle ones.
double median(std::vector<double> values);

/// The best square matrix product of several sizes, see apps/bench/peak.hpp.
struct Peak {
  DType dtype;
  double flops_per_s;  // of all ranks together; 0: not measured, because some rank has no such product
  std::int64_t size;
  std::string implementation;

  bool is_measured() const { return flops_per_s > 0; }
};

/// One line of results: parameters, then figures.
struct Result {
  nlohmann::ordered_json parameters;
  std::string formula;  // of the model FLOP
  double flop;
  Timing timing;
  double peak_flops_per_s = 0;  // 0: not measured
  std::string checked = {};     // "", "right" or what is wrong
  nlohmann::ordered_json figures =
      nlohmann::ordered_json::object();  // more measured figures, with their units in their names

  double flops_per_s() const { return flop / timing.median_s(); }
};

/// Prints a table, or one JSON document with machine, program and every parameter.
void report(const std::string& name, const RunOptions& options, Runtime& runtime, std::span<const Peak> peaks,
            std::span<const Result> results);

/// 0 if every checked result is right, else 1.
int exit_code_of(std::span<const Result> results);

DType dtype_from(const std::string& name);

}  // namespace rondo::bench

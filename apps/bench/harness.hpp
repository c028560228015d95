// SPDX-License-Identifier: Apache-2.0
// What the cases of `rondo bench` share: timing, the peak they are measured against, and the two ways to report.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "apps/options.hpp"
#include "comm/communicator.hpp"
#include "core/dtype.hpp"
#include "core/tensor_view.hpp"

namespace rondo::bench {

/// Options of every case.
struct RunOptions {
  int warm_ups = 2, runs = 7;
  int threads = 0;  // 0: all cores
  bool check = false, json = false;
};
void add_run_options(CLI::App& command, RunOptions& options);
void add_check_option(CLI::App& command, RunOptions& options);

struct Timing {
  double median_s, fastest_s, slowest_s;
  /// (slowest - fastest) / median
  double spread() const { return (slowest_s - fastest_s) / median_s; }
};

/// Times `body` after the warm-ups; `prepare` runs before each call and is not timed.
Timing measure(const RunOptions& options, const std::function<void()>& prepare, const std::function<void()>& body);
/// The same over ranks that begin together: a run takes as long as its slowest rank. Collective.
Timing measure_on_ranks(const Communicator& world, const RunOptions& options, const std::function<void()>& prepare,
                        const std::function<void()>& body);
/// The middle of the values; the upper one of two.
double median(std::vector<double> values);

/// The best square product of 512 ... 4,096 with weights packed in oneDNN's preferred format, same threads.
struct Peak {
  double flops_per_s;
  std::int64_t size;
  std::string implementation;
};
Peak measure_peak(DType dtype, int threads);

/// One line of results: its parameters, then the figures.
struct Result {
  nlohmann::ordered_json parameters;
  std::string formula;  // of the model FLOP
  double flop;
  Timing timing;
  double peak_flops_per_s = 0;          // 0: not measured
  std::string checked = {};             // "", "right" or what is wrong
  nlohmann::ordered_json figures = {};  // more measured figures, with their units in their names
};

/// Prints a table, or one JSON document with machine, program and every parameter.
void report(const std::string& name, const RunOptions& options, int threads, const std::string& backend,
            const std::vector<std::pair<DType, Peak>>& peaks, const std::vector<Result>& results);

/// 0 if every checked result is right, else 1.
int exit_code_of(const std::vector<Result>& results);

/// As many as heads where 0. Throws ConfigError unless they divide the heads.
std::int64_t checked_kv_heads(std::int64_t heads, std::int64_t kv_heads);
int threads_of(const RunOptions& options);
DType dtype_from(const std::string& name);
/// Fills with normal numbers of standard deviation 1.
void fill_random(const TensorView& view, std::uint64_t seed);
/// max |result - exact| <= 2 max |plain - exact| + output rounding: the tolerance rule of docs/numerics.md, for a benchmark.
std::string check_against(const TensorView& result, const TensorView& plain, const TensorView& exact);

}  // namespace rondo::bench

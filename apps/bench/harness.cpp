// SPDX-License-Identifier: Apache-2.0
#include "apps/bench/harness.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <spdlog/fmt/fmt.h>
#include <thread>

#include "apps/commands.hpp"
#include "core/error.hpp"
#include "core/random.hpp"
#include "kernels/cpu/packed_product.hpp"

namespace rondo::bench {

namespace {

std::string processor_name() {
  std::ifstream cpus("/proc/cpuinfo");
  for (std::string line; std::getline(cpus, line);) {
    const auto colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown";
}

double element(const TensorView& view, std::int64_t i) {
  switch (view.dtype) {
    case DType::Fp64: return view.as<double>()[i];
    case DType::Fp32: return static_cast<double>(view.as<float>()[i]);
    case DType::Bf16: return static_cast<double>(view.as<bf16>()[i]);
    case DType::Int32:
    case DType::Int64: break;
  }
  return 0;
}

nlohmann::ordered_json to_json(const Result& result) {
  nlohmann::ordered_json line = result.parameters;
  line["flop_formula"] = result.formula;
  line["flop"] = result.flop;
  line["median_ms"] = result.timing.median_s * 1e3;
  line["fastest_ms"] = result.timing.fastest_s * 1e3;
  line["slowest_ms"] = result.timing.slowest_s * 1e3;
  line["spread"] = result.timing.spread();
  line["flops_per_s"] = result.flop / result.timing.median_s;
  if (result.peak_flops_per_s > 0) {
    line["share_of_peak"] = result.flop / result.timing.median_s / result.peak_flops_per_s;
  }
  line.update(result.figures);
  if (!result.checked.empty()) line["check"] = result.checked;
  return line;
}

}  // namespace

void add_run_options(CLI::App& command, RunOptions& options) {
  command.add_option("--warm-ups", options.warm_ups, "runs before the timed ones")->check(CLI::Range(0, 1000));
  command.add_option("--runs", options.runs, "timed runs")->check(CLI::Range(1, 1000));
  command.add_option("--threads", options.threads, "threads of a rank; the cores shared by the ranks if not given")
      ->check(CLI::Range(1, 4096));
  add_json_option(command, options.json);
}

void add_check_option(CLI::App& command, RunOptions& options) {
  command.add_flag("--check", options.check, "also check the result against the reference backend");
}

Timing measure(const RunOptions& options, const std::function<void()>& prepare, const std::function<void()>& body) {
  return measure_on_ranks(Communicator::self(), options, prepare, body);
}

Timing measure_on_ranks(const Communicator& world, const RunOptions& options, const std::function<void()>& prepare,
                        const std::function<void()>& body) {
  std::vector<double> seconds;
  for (int run = -options.warm_ups; run < options.runs; ++run) {
    prepare();
    world.barrier();
    const auto start = std::chrono::steady_clock::now();
    body();
    const auto elapsed = std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now() - start);
    const std::int64_t slowest = world.max(elapsed.count());
    if (run >= 0) seconds.push_back(1e-9 * static_cast<double>(slowest));
  }
  const auto [fastest, slowest] = std::ranges::minmax(seconds);
  return {median(seconds), fastest, slowest};
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

Peak measure_peak(DType dtype, int threads) {
  Peak best{};
  for (const std::int64_t size : {512, 1024, 2048, 4096}) {
    cpu::PackedSquareProduct product(dtype, size, threads);
    RunOptions options{.warm_ups = size < 4096 ? 2 : 1, .runs = size < 2048 ? 15 : 5};
    const Timing timing = measure(
        options, [] {}, [&] { product.run(); });
    const auto n = static_cast<double>(size);
    const double flops = 2 * n * n * n / timing.median_s;
    if (flops > best.flops_per_s) best = {flops, size, product.implementation()};
  }
  return best;
}

void report(const std::string& name, const RunOptions& options, int threads, const std::string& backend,
            const std::vector<std::pair<DType, Peak>>& peaks, const std::vector<Result>& results) {
  if (options.json) {
    nlohmann::ordered_json document{{"bench", name},       {"version", version_text()}, {"device", processor_name()},
                                    {"backend", backend},  {"threads", threads},        {"warm_ups", options.warm_ups},
                                    {"runs", options.runs}};
    for (const auto& [dtype, peak] : peaks) {
      document["peaks"].push_back({{"dtype", name_of(dtype)},
                                   {"flops_per_s", peak.flops_per_s},
                                   {"square_size", peak.size},
                                   {"implementation", peak.implementation}});
    }
    for (const Result& result : results) document["results"].push_back(to_json(result));
    std::printf("%s\n", document.dump(2).c_str());
    return;
  }
  std::string text = fmt::format("{}, {} threads, {}\n", processor_name(), threads, backend);
  for (const auto& [dtype, peak] : peaks) {
    text += fmt::format("peak {}: {:.1f} GFLOP/s, square product of {}, {}\n", name_of(dtype), peak.flops_per_s * 1e-9,
                        peak.size, peak.implementation);
  }
  for (const Result& result : results) {
    std::string parameters;
    for (const auto& [key, value] : result.parameters.items()) {
      parameters += fmt::format("{} {}  ", key, value.is_string() ? value.get<std::string>() : value.dump());
    }
    const double flops_per_s = result.flop / result.timing.median_s;
    text += fmt::format("{}median {:.3f} ms  spread {:.0f} %  {:.1f} GFLOP/s", parameters, result.timing.median_s * 1e3,
                        result.timing.spread() * 100, flops_per_s * 1e-9);
    if (result.peak_flops_per_s > 0)
      text += fmt::format("  {:.0f} % of peak", 100 * flops_per_s / result.peak_flops_per_s);
    for (const auto& [key, value] : result.figures.items()) {
      text += value.is_number_float() ? fmt::format("  {} {:.3f}", key, value.get<double>())
                                      : fmt::format("  {} {}", key, value.dump());
    }
    text += result.checked.empty() ? "\n" : "  " + result.checked + "\n";
  }
  if (!results.empty()) text += "model FLOP: " + results.front().formula + "\n";
  std::fputs(text.c_str(), stdout);
}

int exit_code_of(const std::vector<Result>& results) {
  const bool right = std::ranges::all_of(
      results, [](const Result& result) { return result.checked.empty() || result.checked == "right"; });
  return right ? 0 : exit_code(ErrorKind::Internal);
}

std::int64_t checked_kv_heads(std::int64_t heads, std::int64_t kv_heads) {
  if (kv_heads == 0) return heads;
  if (heads % kv_heads == 0) return kv_heads;
  throw ConfigError("heads are not a multiple of key/value heads", "--kv-heads", "give a divisor of --heads");
}

int threads_of(const RunOptions& options) {
  return options.threads > 0 ? options.threads : static_cast<int>(std::thread::hardware_concurrency());
}

DType dtype_from(const std::string& name) {
  if (name == "fp32") return DType::Fp32;
  if (name == "bf16") return DType::Bf16;
  throw ConfigError("unknown type '" + name + "'", "--dtype", "use fp32 or bf16");
}

void fill_random(const TensorView& view, std::uint64_t seed) {
  const CounterRandom random(seed, stream_of("bench"));
  for (std::int64_t i = 0; i < view.count(); ++i) {
    const auto value = static_cast<float>(random.normal(static_cast<std::uint64_t>(i)));
    if (view.dtype == DType::Fp32) view.as<float>()[i] = value;
    if (view.dtype == DType::Bf16) view.as<bf16>()[i] = bf16(value);
  }
}

std::string check_against(const TensorView& result, const TensorView& plain, const TensorView& exact) {
  double error = 0, allowed = 0, size = 0;
  for (std::int64_t i = 0; i < exact.count(); ++i) {
    const double value = element(exact, i), distance = std::abs(element(result, i) - value);
    if (std::isnan(distance)) return "not a number";
    error = std::max(error, distance);
    allowed = std::max(allowed, std::abs(element(plain, i) - value));
    size = std::max(size, std::abs(value));
  }
  const double rounding = result.dtype == DType::Bf16 ? 0x1p-8 : 0x1p-24;
  if (error <= 2 * allowed + rounding * size) return "right";
  return fmt::format("wrong by {:.3g}, plain version {:.3g}", error, allowed);
}

}  // namespace rondo::bench

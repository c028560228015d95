// SPDX-License-Identifier: Apache-2.0
#include "apps/bench/harness.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <spdlog/fmt/fmt.h>

#include "apps/commands.hpp"
#include "core/error.hpp"

namespace rondo::bench {

namespace {

using Clock = std::chrono::steady_clock;

std::int64_t nanoseconds_since(Clock::time_point start) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start).count();
}

std::string processor_name() {
  std::ifstream cpus("/proc/cpuinfo");
  for (std::string line; std::getline(cpus, line);) {
    const auto colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown";
}

std::string device_name(Device& device) { return device.kind() == DeviceKind::Cpu ? processor_name() : device.name(); }

/// Times single runs on one device.
class Stopwatch {
 public:
  explicit Stopwatch(Execution& execution)
      : execution_(execution), begin_(execution.device.make_timed_event()), end_(execution.device.make_timed_event()) {}

  void run(const Contender& contender) {
    auto& [device, backend, compute, scratch, ring] = execution_;
    // The device is still busy with prepare() when the first kernel of the body is launched, so that launch latency is hidden
    // as in a run of many steps.
    contender.prepare();
    device.record(*begin_, compute);
    const auto start = Clock::now();
    contender.body();
    host_s_ = 1e-9 * static_cast<double>(nanoseconds_since(start));
    device.record(*end_, compute);
    device.synchronize(compute);
  }
  double seconds() const { return is_cpu() ? host_s_ : execution_.device.seconds_between(*begin_, *end_); }
  double launch_s() const { return is_cpu() ? 0 : host_s_; }

 private:
  bool is_cpu() const { return execution_.device.kind() == DeviceKind::Cpu; }

  Execution& execution_;
  std::unique_ptr<Event> begin_, end_;
  double host_s_ = 0;
};

nlohmann::ordered_json to_json(const Result& result) {
  const Timing& timing = result.timing;
  nlohmann::ordered_json line = result.parameters;
  line["flop_formula"] = result.formula;
  line["flop"] = result.flop;
  line["median_ms"] = timing.median_s() * 1e3;
  line["fastest_ms"] = timing.fastest_s() * 1e3;
  line["slowest_ms"] = timing.slowest_s() * 1e3;
  line["spread"] = timing.spread();
  if (timing.launch_s > 0) line["launch_ms"] = timing.launch_s * 1e3;
  line["flops_per_s"] = result.flops_per_s();
  if (result.peak_flops_per_s > 0) line["share_of_peak"] = result.flops_per_s() / result.peak_flops_per_s;
  line.update(result.figures);
  if (!result.checked.empty()) line["check"] = result.checked;
  return line;
}

std::string flops_text(double flops_per_s) {
  return flops_per_s < 1e12 ? fmt::format("{:.1f} GFLOP/s", flops_per_s * 1e-9)
                            : fmt::format("{:.1f} TFLOP/s", flops_per_s * 1e-12);
}

std::string to_text(const Result& result) {
  const Timing& timing = result.timing;
  std::string text;
  for (const auto& [key, value] : result.parameters.items()) {
    text += fmt::format("{} {}  ", key, value.is_string() ? value.get<std::string>() : value.dump());
  }
  text += fmt::format("median {:.3f} ms  spread {:.0f} %  {}", timing.median_s() * 1e3, timing.spread() * 100,
                      flops_text(result.flops_per_s()));
  if (timing.launch_s > 0) text += fmt::format("  launched in {:.3f} ms", timing.launch_s * 1e3);
  if (result.peak_flops_per_s > 0) {
    text += fmt::format("  {:.0f} % of peak", 100 * result.flops_per_s() / result.peak_flops_per_s);
  }
  for (const auto& [key, value] : result.figures.items()) {
    text += value.is_number_float() ? fmt::format("  {} {:.3f}", key, value.get<double>())
                                    : fmt::format("  {} {}", key, value.dump());
  }
  return text + (result.checked.empty() ? "\n" : "  " + result.checked + "\n");
}

constexpr const char* kNotMeasured = "not measured here: oneDNN has no product of this type for this processor";

nlohmann::ordered_json to_json(const Peak& peak) {
  if (!peak.is_measured()) {
    return {{"dtype", name_of(peak.dtype)}, {"flops_per_s", nullptr}, {"reason", kNotMeasured}};
  }
  return {{"dtype", name_of(peak.dtype)},
          {"flops_per_s", peak.flops_per_s},
          {"square_size", peak.size},
          {"implementation", peak.implementation}};
}

std::string to_text(const Peak& peak) {
  if (!peak.is_measured()) return fmt::format("peak {}: {}\n", name_of(peak.dtype), kNotMeasured);
  return fmt::format("peak {}: {}, square product of {}, {}\n", name_of(peak.dtype), flops_text(peak.flops_per_s),
                     peak.size, peak.implementation);
}

}  // namespace

void add_run_options(CLI::App& command, RunOptions& options) {
  command.add_option("--warm-ups", options.warm_ups, "runs before the timed ones")->check(CLI::Range(0, 1000));
  command.add_option("--runs", options.runs, "timed runs")->check(CLI::Range(1, 1000));
  command.add_option("--threads", options.threads, "threads of a rank; the cores shared by the ranks if not given")
      ->check(CLI::Range(1, 4096));
  add_json_option(command, options.json);
}

void add_device_options(CLI::App& command, RunOptions& options) {
  command.add_option("--device", options.device, "cpu or cuda")
      ->check(CLI::IsMember({"cpu", "cuda"}))
      ->type_name("DEVICE");
  command
      .add_option("--peak-size", options.peak_sizes,
                  "the matmul peak is the best of these squares; 512 to 4096 on CPUs, 4096 to 16384 on GPUs")
      ->delimiter(',')
      ->check(CLI::Range(1, 1 << 16))
      ->type_name("N");
}

void add_attention_options(CLI::App& command, RunOptions& options) {
  command.add_option("--attention-kernel", options.attention_kernel, "as parallel.attention_kernel, on GPUs")
      ->check(CLI::IsMember({"auto", "cudnn", "fused"}))
      ->type_name("KERNEL");
  command.add_flag("--deterministic", options.deterministic, "as train.deterministic, on GPUs");
}

void add_dtype_option(CLI::App& command, std::vector<std::string>& dtypes) {
  command.add_option("--dtype", dtypes, "fp32, bf16 or both")->delimiter(',')->type_name("TYPE");
}

void add_peak_option(CLI::App& command, RunOptions& options) {
  command.add_flag("--peak", options.peak, "also measure the matmul peak of all ranks at once, some seconds");
}

void add_check_option(CLI::App& command, RunOptions& options) {
  command.add_flag("--check", options.check, "also check the result against the reference backend");
}

RuntimeOptions machine_options(const RunOptions& options) {
  RuntimeOptions machine;
  machine.device = *value_of<DeviceChoice>(options.device);
  machine.transport = *value_of<TransportChoice>(options.transport);
  machine.threads = options.threads;
  machine.backend = {.deterministic = options.deterministic,
                     .attention_kernel = *value_of<AttentionKernel>(options.attention_kernel)};
  return machine;
}

RuntimeOptions reference_options() {
  RuntimeOptions machine;
  machine.device = DeviceChoice::Reference;
  return machine;
}

double Timing::median_s() const { return median(seconds); }
double Timing::fastest_s() const { return std::ranges::min(seconds); }
double Timing::slowest_s() const { return std::ranges::max(seconds); }

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

Timing measure(Execution& execution, const RunOptions& options, const Contender& contender) {
  return measure_in_turns(execution, options, {&contender, 1}).front();
}

std::vector<Timing> measure_in_turns(Execution& execution, const RunOptions& options,
                                     std::span<const Contender> contenders) {
  Stopwatch watch(execution);
  std::vector<Timing> timings(contenders.size());
  std::vector<std::vector<double>> launches(contenders.size());
  for (int run = -options.warm_ups; run < options.runs; ++run) {
    for (std::size_t i = 0; i < contenders.size(); ++i) {
      watch.run(contenders[i]);
      if (run < 0) continue;
      timings[i].seconds.push_back(watch.seconds());
      launches[i].push_back(watch.launch_s());
    }
  }
  for (std::size_t i = 0; i < contenders.size(); ++i) timings[i].launch_s = median(launches[i]);
  return timings;
}

Timing measure_on_ranks(Runtime& runtime, const RunOptions& options, const Contender& contender) {
  const Communicator& world = runtime.world();
  Execution& execution = runtime.execution();
  Timing timing;
  for (int run = -options.warm_ups; run < options.runs; ++run) {
    contender.prepare();
    execution.device.synchronize(execution.compute);
    world.barrier();
    const auto start = Clock::now();
    contender.body();
    execution.device.synchronize(execution.compute);
    const std::int64_t slowest = world.max(nanoseconds_since(start));
    if (run >= 0) timing.seconds.push_back(1e-9 * static_cast<double>(slowest));
  }
  return timing;
}

void report(const std::string& name, const RunOptions& options, Runtime& runtime, std::span<const Peak> peaks,
            std::span<const Result> results) {
  const std::string device = device_name(runtime.execution().device);
  if (options.json) {
    nlohmann::ordered_json document{{"bench", name},
                                    {"version", version_text()},
                                    {"device", device},
                                    {"backend", runtime.execution().backend.name()},
                                    {"machine", runtime.description()},
                                    {"threads", runtime.threads()},
                                    {"warm_ups", options.warm_ups},
                                    {"runs", options.runs}};
    for (const Peak& peak : peaks) document["peaks"].push_back(to_json(peak));
    for (const Result& result : results) document["results"].push_back(to_json(result));
    std::printf("%s\n", document.dump(2).c_str());
    return;
  }
  std::string text = fmt::format("{}, {}\n", device, runtime.description());
  for (const Peak& peak : peaks) text += to_text(peak);
  for (const Result& result : results) text += to_text(result);
  if (!results.empty()) text += "model FLOP: " + results.front().formula + "\n";
  std::fputs(text.c_str(), stdout);
}

int exit_code_of(std::span<const Result> results) {
  const bool right = std::ranges::all_of(
      results, [](const Result& result) { return result.checked.empty() || result.checked == "right"; });
  return right ? 0 : exit_code(ErrorKind::Internal);
}

DType dtype_from(const std::string& name) {
  if (name == "fp32") return DType::Fp32;
  if (name == "bf16") return DType::Bf16;
  throw ConfigError("unknown type '" + name + "'", "--dtype", "use fp32 or bf16");
}

}  // namespace rondo::bench

// SPDX-License-Identifier: Apache-2.0
#include "train/step_report.hpp"

#include <cmath>
#include <nlohmann/json.hpp>
#include <spdlog/fmt/fmt.h>

namespace rondo {

std::string duration_text(double seconds) {
  const auto whole = static_cast<std::int64_t>(std::llround(std::max(0.0, seconds)));
  const std::int64_t hours = whole / 3600, minutes = whole / 60 % 60;
  return hours > 0 ? fmt::format("{}:{:02}:{:02}", hours, minutes, whole % 60)
                   : fmt::format("{}:{:02}", minutes, whole % 60);
}

std::string step_line(const StepReport& r) {
  return fmt::format(
      "step {:>7}/{}  loss {:7.4f}  norm {:7.3f}  lr {:8.2e}  {:8.1f} ms  {:8.0f} tok/s  {:7.1f} GFLOP/s  "
      "exposed "
      "{:6.1f} ms  eta {}",
      r.step, r.num_steps, r.loss, r.gradient_norm, r.learning_rate, r.step_ms, r.tokens_per_second(),
      1e-6 * r.model_flops / r.step_ms, r.exposed_communication_ms, duration_text(r.eta_s));
}

std::string metrics_record(const StepReport& r, const PeakMemory& memory) {
  nlohmann::ordered_json record{{"step", r.step},
                                {"loss", r.loss},
                                {"grad_norm", r.gradient_norm},
                                {"learning_rate", r.learning_rate},
                                {"tokens_seen", r.tokens_seen},
                                {"step_ms", r.step_ms},
                                {"tokens_per_second", r.tokens_per_second()},
                                {"model_flops_per_second", 1e3 * r.model_flops / r.step_ms},
                                {"exposed_communication_ms", r.exposed_communication_ms}};
  nlohmann::ordered_json peak;
  for (std::size_t i = 0; i < kNumMemoryUses; ++i) {
    peak[std::string(name_of(static_cast<MemoryUse>(i)))] = memory.bytes[i];
  }
  record["peak_bytes"] = peak;
  record["peak_total_bytes"] = memory.total_bytes;
  record["peak_resident_bytes"] = memory.resident_bytes;
  return record.dump();
}

std::string validation_record(std::int64_t step, double loss, std::int64_t num_targets, const MemoryRecord* memory) {
  nlohmann::ordered_json record{{"step", step}, {"validation_loss", loss}, {"validation_targets", num_targets}};
  if (memory != nullptr) {
    record["gate_histogram"] = memory->gate_histogram;
    record["memory_norms"] = memory->norms;
    record["smallest_memory_normaliser"] =
        std::isfinite(memory->smallest_normaliser) ? nlohmann::ordered_json(memory->smallest_normaliser) : nullptr;
  }
  return record.dump();
}

}  // namespace rondo

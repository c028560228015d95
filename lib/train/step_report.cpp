// SPDX-License-Identifier: Apache-2.0
#include "train/step_report.hpp"

#include <cmath>
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

StepRecord metrics_of(const StepReport& r, const PeakMemory& memory) {
  return {.step = r.step,
          .loss = r.loss,
          .gradient_norm = r.gradient_norm,
          .learning_rate = r.learning_rate,
          .tokens_seen = r.tokens_seen,
          .step_ms = r.step_ms,
          .tokens_per_second = r.tokens_per_second(),
          .model_flops_per_second = 1e3 * r.model_flops / r.step_ms,
          .exposed_communication_ms = r.exposed_communication_ms,
          .peak_bytes = memory.bytes,
          .peak_total_bytes = memory.total_bytes,
          .peak_resident_bytes = memory.resident_bytes};
}

}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
// The figures of one step, as a line of text and as a record for metrics.jsonl.
#pragma once

#include <cstdint>
#include <string>

#include "io/metrics_record.hpp"
#include "train/peak_memory.hpp"

namespace rondo {

struct StepReport {
  std::int64_t step = 0, num_steps = 0;
  double loss = 0;  ///< nats per target token, over all ranks
  double gradient_norm = 0, learning_rate = 0;
  std::int64_t tokens = 0;       ///< of this step, over all ranks
  std::int64_t tokens_seen = 0;  ///< since step 0
  double step_ms = 0;
  double exposed_communication_ms = 0;  ///< time that this rank waited for the ring
  double model_flops = 0;               ///< of this step, over all ranks, without recomputation
  double eta_s = 0;                     ///< until the last step

  double tokens_per_second() const { return 1e3 * static_cast<double>(tokens) / step_ms; }
};

/// Fixed columns: step, loss, norm, lr, ms, tokens/s, GFLOP/s, exposed communication, ETA.
std::string step_line(const StepReport& report);
/// The line of metrics.jsonl.
StepRecord metrics_of(const StepReport& report, const PeakMemory& memory);
/// e.g. "1:02:03", "4:05"
std::string duration_text(double seconds);

}  // namespace rondo

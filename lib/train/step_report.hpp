// SPDX-License-Identifier: Apache-2.0
// The figures of one step, as a line for people and as a record for programs.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "train/peak_memory.hpp"

namespace rondo {

struct StepReport {
  std::int64_t step = 0, num_steps = 0;
  double loss = 0;  ///< nats a target token, over all ranks
  double gradient_norm = 0, learning_rate = 0;
  std::int64_t tokens = 0;       ///< of this step, over all ranks
  std::int64_t tokens_seen = 0;  ///< since step 0
  double step_ms = 0;
  double exposed_communication_ms = 0;  ///< this rank waited for the ring
  double model_flops = 0;               ///< of this step, over all ranks, without recomputation
  double eta_s = 0;                     ///< until the last step

  double tokens_per_second() const { return 1e3 * static_cast<double>(tokens) / step_ms; }
};

/// Of a model with a memory, over all ranks.
struct MemoryRecord {
  std::array<std::int64_t, 10> gate_histogram{};  ///< heads by their share of what is read: [0, 0.1), ... [0.9, 1]
  std::vector<double> norms;                      ///< by layer: the largest Frobenius norm of a head's M
  double smallest_normaliser = std::numeric_limits<double>::infinity();  ///< sigma(q) z that a read was divided by
};

/// Fixed columns: step, loss, norm, lr, ms, tokens/s, GFLOP/s, exposed communication, ETA.
std::string step_line(const StepReport& report);
/// One object without line breaks, for metrics.jsonl.
std::string metrics_record(const StepReport& report, const PeakMemory& memory);
/// @param memory  what the evaluation saw of the memories; null: the model has none
std::string validation_record(std::int64_t step, double loss, std::int64_t num_targets,
                              const MemoryRecord* memory = nullptr);
/// e.g. "1:02:03", "4:05"
std::string duration_text(double seconds);

}  // namespace rondo

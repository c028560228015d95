// SPDX-License-Identifier: Apache-2.0
// The lines of metrics.jsonl, written and read here alone: one JSON object per logged training step and per validation. A figure
// that is not finite is written as null and read back as NaN.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/memory_use.hpp"

namespace rondo {

/// A training step. Figures are over all ranks unless said otherwise.
struct StepRecord {
  std::int64_t step = 0;
  double loss = 0;  ///< nats per target token
  double gradient_norm = 0, learning_rate = 0;
  std::int64_t tokens_seen = 0;  ///< since step 0
  double step_ms = 0, tokens_per_second = 0;
  double model_flops_per_second = 0;    ///< without recomputation
  double exposed_communication_ms = 0;  ///< for which rank 0 waited for the ring
  /// The most that any rank has needed so far: by use, of all uses at one time, and as the operating system counts the process.
  std::array<std::int64_t, kNumMemoryUses> peak_bytes{};
  std::int64_t peak_total_bytes = 0, peak_resident_bytes = 0;

  bool operator==(const StepRecord&) const = default;
};

/// Of a model with compressive memories, over all ranks.
struct MemoryStatistics {
  std::array<std::int64_t, 10>
      gate_histogram{};       ///< heads by the memory's weight in their output: [0, 0.1), ... [0.9, 1]
  std::vector<double> norms;  ///< by layer: the largest Frobenius norm of a head's M
  /// The smallest sigma(q) z that a read was divided by; nothing when there was no read.
  std::optional<double> smallest_normaliser;

  bool operator==(const MemoryStatistics&) const = default;
};

/// An evaluation of the validation part.
struct ValidationRecord {
  std::int64_t step = 0;  ///< that was done before
  double loss = 0;        ///< nats per target token
  std::int64_t num_targets = 0;
  std::optional<MemoryStatistics> memory;  ///< nothing when the model has none

  bool operator==(const ValidationRecord&) const = default;
};

using MetricsRecord = std::variant<StepRecord, ValidationRecord>;

std::int64_t step_of(const MetricsRecord& record);
/// One line, without its line break.
std::string to_json(const MetricsRecord& record);
/// Reads lines of this version and of before lines had one. @throws DataError that names `where`; for a newer version too
MetricsRecord metrics_from_json(const std::string& line, const std::string& where);
/// The step of a line, without reading the rest; nothing when it is no record, as one that a crash cut short. @throws DataError for
/// a line of a newer version
std::optional<std::int64_t> step_of_line(const std::string& line, const std::string& where);
/// Is it a line of a ValidationRecord?
bool is_validation_line(const std::string& line);

/// All lines of a metrics.jsonl in their order; none where there is no file. A last line without its line break, which a crash
/// cut short, is left out. @throws DataError that names file and line
std::vector<MetricsRecord> read_metrics(const std::filesystem::path& file);

}  // namespace rondo

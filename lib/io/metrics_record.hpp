// SPDX-License-Identifier: Apache-2.0
// The lines of metrics.jsonl: one JSON object per logged training step and per validation. Only this file writes and reads
// them. A figure that is not finite is written as null and read back as NaN.
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

/// A training step. Figures are over all ranks unless stated otherwise.
struct StepRecord {
  std::int64_t step = 0;
  double loss = 0;  ///< nats per target token
  double gradient_norm = 0, learning_rate = 0;
  std::int64_t tokens_seen = 0;  ///< since step 0
  double step_ms = 0, tokens_per_second = 0;
  double model_flops_per_second = 0;    ///< without recomputation
  double exposed_communication_ms = 0;  ///< time that rank 0 waited for the ring
  /// Peaks so far, the largest over the ranks: per use, over all uses together, and resident memory of the process.
  std::array<std::int64_t, kNumMemoryUses> peak_bytes{};
  std::int64_t peak_total_bytes = 0, peak_resident_bytes = 0;

  bool operator==(const StepRecord&) const = default;
};

/// Statistics of compressive memories, over all ranks.
struct MemoryStatistics {
  std::array<std::int64_t, 10>
      gate_histogram{};       ///< heads by the memory's weight in their output: [0, 0.1), ... [0.9, 1]
  std::vector<double> norms;  ///< per layer: the largest Frobenius norm of a head's M
  /// The smallest sigma(q) z that a read was divided by; nothing if there was no read.
  std::optional<double> smallest_normaliser;

  bool operator==(const MemoryStatistics&) const = default;
};

/// An evaluation of the validation split.
struct ValidationRecord {
  std::int64_t step = 0;  ///< the last completed step
  double loss = 0;        ///< nats per target token
  std::int64_t num_targets = 0;
  std::optional<MemoryStatistics> memory;  ///< nothing if the model has no memory

  bool operator==(const ValidationRecord&) const = default;
};

using MetricsRecord = std::variant<StepRecord, ValidationRecord>;

std::int64_t step_of(const MetricsRecord& record);
/// One line, without its line break.
std::string to_json(const MetricsRecord& record);
/// Reads lines of this version, and those from before lines had one. @throws DataError that names `where`, also for a newer
/// version
MetricsRecord metrics_from_json(const std::string& line, const std::string& where);
/// The step of a line, without validating the rest; nothing if it is not a record, such as one that a crash cut short.
/// @throws DataError for a line of a newer version
std::optional<std::int64_t> step_of_line(const std::string& line, const std::string& where);
/// Whether this is a line of a ValidationRecord.
bool is_validation_line(const std::string& line);

/// All lines of a metrics.jsonl in order; none if there is no file. A last line without a line break, which a crash cut short,
/// is skipped. @throws DataError that names file and line
std::vector<MetricsRecord> read_metrics(const std::filesystem::path& file);

}  // namespace rondo

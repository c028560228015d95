// SPDX-License-Identifier: Apache-2.0
// The folder of one run: its configuration, metrics, heartbeat, checkpoints, and the record of how it ended. One live process
// at a time writes it; exit.json records how the run ended.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "io/metrics_record.hpp"
#include "io/run_records.hpp"

namespace rondo {

/// The folder of a stage in a run of several, such as 2-long for long.toml. @param number  counted from 1
std::filesystem::path stage_folder(const std::filesystem::path& run, int number, const std::filesystem::path& config);
/// The folder of step folders for a path that the user gave: that of a run, of a run's last stage that has one, or else `given`
/// itself.
std::filesystem::path checkpoints_of(const std::filesystem::path& given);

class RunFolder {
 public:
  static constexpr const char* kCheckpoints = "checkpoints";

  /// Creates the folder if there is none. @throws DataError when it cannot be written
  explicit RunFolder(std::filesystem::path path);
  ~RunFolder();
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path checkpoints() const { return path_ / kCheckpoints; }

  /// The folder where stalled ranks leave notes for each other.
  std::filesystem::path stall_notes() const { return path_ / "stalled"; }

  /// On one rank: locks the folder for this process until it ends. @throws DataError naming the process that holds the lock, or
  /// when the folder holds something other than a run
  void lock();
  /// On the rank that holds the lock: exit.json says "running" from then on. Records that are written get the current time.
  void write_running(ExitRecord record) const;

  /// The configuration of the last start, if there was one.
  std::optional<std::string> read_config() const;
  void write_config(const std::string& toml) const;
  /// The record of the last start, if there is one that can be read.
  std::optional<StartRecord> read_start() const;
  void write_start(StartRecord record) const;
  /// Moves metrics of steps after this one to metrics.after-step-N.jsonl, so that no step appears twice.
  void rewind_metrics(std::int64_t step) const;
  /// Appends one line and writes it immediately.
  void append_metrics(const MetricsRecord& record) const;
  /// Whether the metrics have an evaluation of the validation split after this step.
  bool has_validation(std::int64_t step) const;
  /// Writes time and step, for monitoring.
  void write_heartbeat(std::int64_t step) const;

  /// Writes exit.json at the end. The record of the first rank that ends with an error is kept; later ones change nothing.
  void write_exit(ExitRecord record) const noexcept;

 private:
  std::filesystem::path metrics_file() const { return path_ / "metrics.jsonl"; }

  std::filesystem::path path_;
  int lock_ = -1;
};

}  // namespace rondo

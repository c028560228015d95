// SPDX-License-Identifier: Apache-2.0
// The folder of one run: its configuration, metrics, heartbeat, checkpoints, and the record of how it ended. One living
// process at a time writes it; every way to end leaves exit.json telling which.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/error.hpp"

namespace rondo {

/// How a run ended, as written to exit.json.
struct ExitRecord {
  std::string cause;  ///< "running", "finished", "stopped", "stalled", or the kind of the error
  int exit_code = 0;
  int rank = 0;
  std::string host;
  std::int64_t step = 0;  ///< the last one done
  std::string phase;      ///< "start", "training", "evaluation", "save"
  std::string message, advice;
  bool retry = false;  ///< would the same command line go on?
};

/// What a start computes with, as written to start.json.
struct StartRecord {
  std::string machine;                 ///< device, transport, ranks and threads, a line
  bool deterministic = true;           ///< train.deterministic, as it was chosen
  std::vector<std::string> gpus;       ///< which rank computes on which, a line a host
  std::vector<std::string> attention;  ///< kernels with the reason of the choice, a line each
};

/// The folder of a stage in a run of several, as in 2-long for long.toml. @param number from 1
std::filesystem::path stage_folder(const std::filesystem::path& run, int number, const std::filesystem::path& config);
/// The folder of step folders that the user means by `given`: that of a run, of the last stage of a run that has any, or else
/// `given` itself.
std::filesystem::path checkpoints_of(const std::filesystem::path& given);

class RunFolder {
 public:
  static constexpr const char* kCheckpoints = "checkpoints";

  /// Creates the folder where there is none. @throws DataError when it cannot be written
  explicit RunFolder(std::filesystem::path path);
  ~RunFolder();
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path checkpoints() const { return path_ / kCheckpoints; }

  /// Where ranks that wait too long compare notes.
  std::filesystem::path stall_notes() const { return path_ / "stalled"; }

  /// On one rank: takes the folder for this process until it ends. @throws DataError naming the process that has it, or when
  /// the folder holds something else than a run
  void lock();
  /// On the rank that holds the lock: exit.json says "running" from now on.
  void write_running(const ExitRecord& record) const;

  /// The configuration of the last start, if there was one.
  std::optional<std::string> read_config() const;
  void write_config(const std::string& toml) const;
  /// Of the last start, if there was one that can be read.
  std::optional<StartRecord> read_start() const;
  void write_start(const StartRecord& record) const;
  /// Metrics of steps after this one go to metrics.after-step-N.jsonl, so that none is there twice.
  void rewind_metrics(std::int64_t step) const;
  /// Appends one line, written at once. Lines are objects with a "step".
  void append_metrics(const std::string& record) const;
  /// Time and step, for whoever watches the run.
  void beat(std::int64_t step) const;

  /// Writes exit.json at the end. The first rank of this run that ends with an error is kept; later ones change nothing.
  void write_exit(const ExitRecord& record) const noexcept;

 private:
  std::filesystem::path path_;
  int lock_ = -1;
};

}  // namespace rondo

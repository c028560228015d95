// SPDX-License-Identifier: Apache-2.0
// Keeps the record of a run's end true, whatever ends it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "comm/mpi_session.hpp"
#include "core/error.hpp"
#include "io/run_folder.hpp"

namespace rondo {

/// Holds the run's folder until the process ends. Its exit.json says "running" from lock_folder() on, and at the end how the run
/// ended.
class ExitReporter {
 public:
  /// The first thing that a run does, so that every way to end has a record. Collective; rank 0 locks the folder. A folder that
  /// another process has, or that holds something else than a run, is refused (AgreedError).
  const RunFolder& lock_folder(const MpiSession& session, const std::filesystem::path& path);
  /// What an error from now on is recorded with.
  void set_phase(std::string_view phase, std::int64_t step) {
    phase_ = phase;
    step_ = step;
  }
  /// The run has done its last step, or was stopped before. @param message what went wrong all the same; may be empty
  /// @returns the exit code: 0, or 75
  int report_end(bool is_finished, const std::string& message) const;
  /// An error ends the run. @param rank_alone of this rank only; else rank 0 writes
  void report_error(const Error& error, bool rank_alone) const noexcept;

 private:
  ExitRecord record() const;

  std::unique_ptr<RunFolder> folder_;
  int rank_ = 0;
  std::string phase_ = "start";
  std::int64_t step_ = 0;
};

}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
// Keeps exit.json of a run correct, however the run ends.
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

/// Locks the run's folder until the process ends. exit.json says "running" after lock_folder(), and at the end how the run
/// ended.
class ExitReporter {
 public:
  /// Must be the first action of a run, so that every outcome is recorded. Collective; rank 0 locks the folder. Throws
  /// AgreedError if another process has locked it, or if it holds something other than a run.
  const RunFolder& lock_folder(const MpiSession& session, const std::filesystem::path& path);
  /// Sets the phase and step that a later error is recorded with.
  void set_phase(std::string_view phase, std::int64_t step) {
    phase_ = phase;
    step_ = step;
  }
  /// Records that the run has done its last step, or was stopped before it. @param message  a problem to record; may be empty
  /// @returns the exit code: 0, or 75 if stopped
  int report_end(bool is_finished, const std::string& message) const;
  /// Records that an error ends the run. @param rank_alone  only this rank has the error; otherwise rank 0 writes
  void report_error(const Error& error, bool rank_alone) const noexcept;

 private:
  ExitRecord record() const;

  std::unique_ptr<RunFolder> folder_;
  int rank_ = 0;
  std::string phase_ = "start";
  std::int64_t step_ = 0;
};

}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
// The trace of the first steps after a start: the scopes of the host and, on a GPU, the work of each stream.
#pragma once

#include <filesystem>
#include <optional>

#include "core/device_trace.hpp"
#include "runtime/runtime.hpp"

namespace rondo {

class RunTrace {
 public:
  /// Records the scopes of steps first_step + 1 to first_step + num_steps. @param run the run's folder
  RunTrace(Runtime& runtime, std::filesystem::path run, std::int64_t first_step, std::int64_t num_steps);

  /// Call after every step; after the last traced step it writes trace/rank-N.json.
  void at(std::int64_t step) {
    if (step == last_step_) write();
  }
  /// Writes what has been recorded, if anything, and stops recording.
  void write();

 private:
  Runtime& runtime_;
  const std::filesystem::path run_;
  const std::int64_t last_step_;
  std::optional<DeviceTrace> on_device_;
};

}  // namespace rondo

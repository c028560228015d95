// SPDX-License-Identifier: Apache-2.0
#include "train/run_trace.hpp"

#include "comm/mpi_session.hpp"
#include "io/trace_file.hpp"

namespace rondo {

RunTrace::RunTrace(Runtime& runtime, std::filesystem::path run, std::int64_t first_step, std::int64_t num_steps)
    : runtime_(runtime), run_(std::move(run)), last_step_(first_step + num_steps) {
  keep_trace_events(num_steps > 0);
  Device& device = runtime.execution().device;
  if (num_steps > 0 && device.kind() != DeviceKind::Cpu) on_device_.emplace(device, runtime.streams());
}

void RunTrace::write() {
  std::vector<TraceTrack> tracks{{"host", take_trace_events()}};
  if (tracks.front().events.empty()) return;
  if (on_device_) {
    for (TraceTrack& track : on_device_->take()) tracks.push_back(std::move(track));
    on_device_.reset();
  }
  const int rank = runtime_.world().rank();
  std::filesystem::create_directories(run_ / "trace");
  write_trace_file(run_ / "trace" / ("rank-" + std::to_string(rank) + ".json"), rank, host_name(), tracks);
}

}  // namespace rondo

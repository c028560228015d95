// SPDX-License-Identifier: Apache-2.0
// Owns the resources of one run: process grid, device, backend, streams and transports, made in this order and released in
// reverse. The model sees only its Execution.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.hpp"
#include "comm/process_grid.hpp"
#include "runtime/execution.hpp"
#include "runtime/machine.hpp"

namespace rondo {

class Runtime {
 public:
  /// Collective over all ranks of `world`, which must outlive this. Throws ConfigError or DeviceError on all ranks.
  Runtime(const Communicator& world, const RuntimeOptions& options);
  ~Runtime();
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  const Communicator& world() const { return grid_.world(); }
  const ProcessGrid& grid() const { return grid_; }
  Execution& execution() { return execution_; }
  /// Between the ranks that have the same parameters: all ranks.
  Transport& world_transport() { return *world_transport_; }

  /// All streams of the device, the compute stream first; for a DeviceTrace.
  std::vector<Stream*> streams() const { return {compute_.get(), ring_stream_.get(), reduce_stream_.get()}; }

  /// Adds a hook that is called between the tiles of long kernels, as Stream::progress().
  void add_progress(std::function<void()> hook);

  /// The device that Auto stands for, and the threads of this rank.
  DeviceChoice device_choice() const { return decision_.device; }
  int threads() const { return threads_; }
  /// One line: device, backend, transport, threads, grid.
  std::string description() const;
  /// Which rank computes on which GPU, one line per host; empty on CPUs.
  const std::vector<std::string>& gpu_map() const { return machine_.map; }
  /// GPU memory for this rank, divided if ranks share the GPU; 0 on CPUs.
  std::uint64_t gpu_memory_bytes() const { return machine_.memory_bytes; }

 private:
  DeviceDecision decision_;
  int threads_;
  ProcessGrid grid_;
  Machine machine_;
  std::unique_ptr<Stream> compute_, ring_stream_, reduce_stream_;
  std::unique_ptr<Transport> ring_transport_, world_transport_;
  std::unique_ptr<Arena> scratch_;
  Execution execution_;
  std::vector<std::function<void()>> progress_;
};

/// Cores that this process may use, divided among the ranks that may use the same ones. @returns at least 1
int cores_per_rank(const Communicator& world);
/// Whether the CPU has matrix units for bf16 (AMX), which determines precision `auto`.
bool cpu_has_bf16_matrix_units();

}  // namespace rondo

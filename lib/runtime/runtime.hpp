// SPDX-License-Identifier: Apache-2.0
// Owns the machine for one run: MPI session, grid, device, backend, streams, transports; made in this order
// and released in reverse. Everything else sees only its Execution.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.hpp"
#include "comm/process_grid.hpp"
#include "config/parallel_config.hpp"
#include "runtime/execution.hpp"

namespace rondo {

struct RuntimeOptions {
  DeviceChoice device = DeviceChoice::Auto;
  TransportChoice transport = TransportChoice::Auto;
  int ring = 0;     // ranks of one ring, 0: all
  int threads = 0;  // of one rank, 0: the cores that it may use, shared with the ranks that may use them too
};

/// Throws DeviceError or ConfigError for a device or a transport that this build does not have.
void require_machine(const RuntimeOptions& options);

class Runtime {
 public:
  /// Collective over all ranks of `world`, which outlives this. Throws ConfigError or DeviceError, agreed by
  /// all ranks.
  Runtime(const Communicator& world, const RuntimeOptions& options);
  ~Runtime();
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  const Communicator& world() const { return grid_.world(); }
  const ProcessGrid& grid() const { return grid_; }
  Execution& execution() { return execution_; }
  /// Between the ranks that hold the same parameters: all ranks.
  Transport& world_transport() { return *world_transport_; }

  /// Also called between the tiles of long kernels.
  void add_progress(std::function<void()> hook);

  /// The device that Auto stands for, and the threads of this rank.
  DeviceChoice device_choice() const { return device_choice_; }
  int threads() const { return threads_; }
  /// One line: device, backend, threads, grid.
  std::string description() const;

 private:
  DeviceChoice device_choice_;
  int threads_;
  ProcessGrid grid_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Stream> compute_;
  std::unique_ptr<Transport> ring_transport_, world_transport_;
  std::unique_ptr<Arena> scratch_;
  Execution execution_;
  std::vector<std::function<void()>> progress_;
};

/// Cores that this process may use, divided among the ranks that may use the same ones. @returns at least 1
int cores_per_rank(const Communicator& world);
/// Has the CPU matrix units for bf16 (AMX)? Decides what precision `auto` is.
bool cpu_has_bf16_matrix_units();

}  // namespace rondo

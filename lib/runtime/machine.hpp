// SPDX-License-Identifier: Apache-2.0
// The device, backend and transport of a rank, chosen and opened by agreement of all ranks before the rest of a run is set up.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "comm/transport.hpp"
#include "config/parallel_config.hpp"
#include "kernels/device_module.hpp"

namespace rondo {

struct RuntimeOptions {
  DeviceChoice device = DeviceChoice::Auto;
  TransportChoice transport = TransportChoice::Auto;
  int nccl_max_ctas = kDefaultNcclMaxCtas;
  int ring = 0;     // ranks per ring, 0: all
  int threads = 0;  // per rank, 0: the cores that it may use, divided among the ranks that may use them too
  BackendOptions backend = {};
  /// The GPU module; null: that of this installation, opened on demand. Tests pass their own.
  const DeviceModule* module = nullptr;
};

/// What `auto` stands for on these ranks.
struct DeviceDecision {
  DeviceChoice device;
  std::string reason;  // for the first lines of the log; empty if there was no choice
  bool has_nccl = false;
};

/// Auto is the GPU if every rank has one, else the CPU. Collective; the same on all ranks.
/// @throws DeviceError, on all ranks, if cuda is requested and some rank cannot use a GPU
DeviceDecision choose_device(const Communicator& world, const RuntimeOptions& options);

/// Throws ConfigError for a transport that the device does not support.
void require_transport(const RuntimeOptions& options);

struct Machine {
  std::unique_ptr<Device> device;
  std::unique_ptr<Backend> backend;
  TransportChoice transport = TransportChoice::Mpi;
  int nccl_max_ctas = kDefaultNcclMaxCtas;
  std::vector<std::string> map;    // which rank computes on which GPU, one line per host; empty on CPUs
  std::uint64_t memory_bytes = 0;  // GPU memory for this rank, divided if ranks share the GPU; 0 on CPUs
  const DeviceModule* module = nullptr;
};

/// Collective. @throws DeviceError or ConfigError, agreed by all ranks  @pre the choice is not Auto
Machine open_machine(const Communicator& world, const RuntimeOptions& options, const DeviceDecision& decision,
                     int threads);

/// A transport between the ranks of `group`. Nothing else uses `stream`; errors are agreed over `world`. The machine and the
/// stream must outlive it.
std::unique_ptr<Transport> make_transport(const Communicator& world, const Communicator& group, const Machine& machine,
                                          Stream& stream);

}  // namespace rondo

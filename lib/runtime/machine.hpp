// SPDX-License-Identifier: Apache-2.0
// What a rank computes with: chosen, opened, and agreed about by all ranks before anything else of a run is made.
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
  int ring = 0;     // ranks of one ring, 0: all
  int threads = 0;  // of one rank, 0: the cores that it may use, shared with the ranks that may use them too
  BackendOptions backend = {};
  /// The GPU module; null: that of this installation, opened when it is needed. Tests bring their own.
  const DeviceModule* module = nullptr;
};

/// What `auto` stands for on these ranks.
struct DeviceDecision {
  DeviceChoice device;
  std::string reason;  // why, for the first lines of the log; empty where nothing was to be decided
  bool has_nccl = false;
};

/// Auto is the GPU where every rank has one, else the CPU. Collective; alike on all ranks.
/// @throws DeviceError, agreed, when cuda is asked for and some rank cannot use a GPU
DeviceDecision choose_device(const Communicator& world, const RuntimeOptions& options);

/// Throws ConfigError for a transport that does not go with the device.
void require_transport(const RuntimeOptions& options);

struct Machine {
  std::unique_ptr<Device> device;
  std::unique_ptr<Backend> backend;
  TransportChoice transport = TransportChoice::Mpi;
  int nccl_max_ctas = kDefaultNcclMaxCtas;
  std::vector<std::string> map;    // which rank computes on which GPU, a line a host; empty on CPUs
  std::uint64_t memory_bytes = 0;  // of this rank's share of its GPU; 0 on CPUs
  const DeviceModule* module = nullptr;
};

/// Collective. @throws DeviceError or ConfigError, agreed by all ranks  @pre the choice is not Auto
Machine open_machine(const Communicator& world, const RuntimeOptions& options, const DeviceDecision& decision,
                     int threads);

/// Between the ranks of `group`, on a stream of its own; `world` agrees about errors. The machine and the stream outlive it.
std::unique_ptr<Transport> make_transport(const Communicator& world, const Communicator& group, const Machine& machine,
                                          Stream& stream);

}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
// The module librondo_cuda.so: found beside librondo.so, opened only when a GPU is asked for, so that ranks
// on CPUs never load CUDA's libraries. It exports one C symbol, rondo_device_module.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/device.hpp"
#include "kernels/backend.hpp"
#include "kernels/backend_options.hpp"

namespace rondo {

class Transport;  // comm/transport.hpp: the module's own lies over NCCL

/// A GPU as its driver describes it.
struct GpuInfo {
  std::string name;
  std::string pci_bus_id;  // "0000:17:00.0": what tells two GPUs of a host apart
  std::uint64_t memory_bytes = 0;
  int compute_capability = 0;  // 10 * major + minor
};

struct LibraryVersion {
  std::string library;
  std::string version;  // or why there is none
};

/// How a rank joins a group of ranks that has NCCL between them. NCCL connects them without blocking.
struct NcclSetup {
  Device& device;
  Backend& backend;  // adds up what is reduced
  Stream& stream;    // of the transport alone
  std::string id;    // made by new_nccl_id on one rank of the group, the same on all
  int rank, size;
  int max_ctas = 0;  // thread blocks that NCCL may take from the arithmetic; 0: its own choice
  /// Called again and again while NCCL connects, with whether this rank is connected. @returns whether all ranks are, which ends
  /// the start; throws when one of them will never be. Empty: this rank alone decides.
  std::function<bool(bool is_ready)> all_ready = {};
  /// At the end a rank waits for its peers at most so long before it gives up on them.
  std::chrono::milliseconds finish_limit = std::chrono::seconds(60);
};

struct DeviceModule {
  /// What the module was built from; it must be the build_id() of the library that opens it.
  const char* build_id;
  /// Devices that can be used by this process; 0 with a reason where there is none. Never throws.
  int (*num_devices)(std::string& why_none);
  /// CUDA's runtime and driver, and the libraries that answer. Never throws.
  std::vector<LibraryVersion> (*versions)();
  /// @throws DeviceError  @pre 0 <= ordinal < num_devices, here and below
  GpuInfo (*device_info)(int ordinal);
  std::unique_ptr<Device> (*open_device)(int ordinal);
  /// @pre the device came from open_device and outlives the backend
  std::unique_ptr<Backend> (*make_backend)(Device& device, const BackendOptions& options);
  /// Null in a module that was built without NCCL. The transport is made by all ranks of the group together; where it throws
  /// on one rank, setup.all_ready must throw on the others.
  std::string (*new_nccl_id)();
  std::unique_ptr<Transport> (*make_nccl_transport)(const NcclSetup& setup);
};

/// Version, compiler and a digest of the interfaces that library and module share.
const char* build_id();

/// Opens the module, once for the process. @throws DeviceError that says what to install or enable: the
/// module is missing, cannot be loaded, or belongs to another build
const DeviceModule& device_module();

/// Is there a driver of NVIDIA on this host? Asked before the module is opened for `auto`: its libraries are large.
bool is_gpu_driver_installed();

}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
// The GPU module librondo_cuda.so: found next to librondo.so and opened only when a GPU is requested, so that ranks on CPUs
// never load CUDA's libraries. It exports one C symbol, rondo_device_module.
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

class Transport;  // comm/transport.hpp; the module implements one over NCCL

/// A GPU as its driver describes it.
struct GpuInfo {
  std::string name;
  std::string pci_bus_id;  // "0000:17:00.0", unique on a host
  std::uint64_t memory_bytes = 0;
  int compute_capability = 0;  // 10 * major + minor
};

struct LibraryVersion {
  std::string library;
  std::string version;  // or why there is none
};

/// How a rank joins a group of ranks that communicate over NCCL. NCCL connects them without blocking.
struct NcclSetup {
  Device& device;
  Backend& backend;  // adds in reductions
  Stream& stream;    // used by the transport only
  std::string id;    // made by new_nccl_id on one rank of the group; the same on all ranks
  int rank, size;
  int max_ctas = 0;  // thread blocks that NCCL may take from the arithmetic; 0: its own choice
  /// Called repeatedly while NCCL connects, with whether this rank is connected. @returns whether all ranks are, which ends the
  /// start; throws if a rank never will be. Empty: this rank alone decides.
  std::function<bool(bool is_ready)> all_ready = {};
  /// How long a rank waits for its peers at the end before it gives up.
  std::chrono::milliseconds finish_limit = std::chrono::seconds(60);
};

struct DeviceModule {
  /// Must equal build_id() of the library that opens the module.
  const char* build_id;
  /// Number of devices that this process can use; if 0, why_none says why. Never throws.
  int (*num_devices)(std::string& why_none);
  /// Versions of CUDA's runtime and driver, cuBLAS, cuDNN and NCCL. Never throws.
  std::vector<LibraryVersion> (*versions)();
  /// @throws DeviceError  @pre 0 <= ordinal < num_devices, here and below
  GpuInfo (*device_info)(int ordinal);
  std::unique_ptr<Device> (*open_device)(int ordinal);
  /// @pre the device came from open_device and outlives the backend
  std::unique_ptr<Backend> (*make_backend)(Device& device, const BackendOptions& options);
  /// Null in a module built without NCCL. Making the transport is collective over the group; if it throws on one rank,
  /// setup.all_ready must throw on the others.
  std::string (*new_nccl_id)();
  std::unique_ptr<Transport> (*make_nccl_transport)(const NcclSetup& setup);
};

/// Version, compiler and a digest of the interfaces between library and module.
const char* build_id();

/// Opens the module, once per process. @throws DeviceError that says what to install or enable, if the module is missing,
/// cannot be loaded, or belongs to another build
const DeviceModule& device_module();

/// Whether this host has an NVIDIA driver. `auto` checks this before it opens the module, whose libraries are large.
bool is_gpu_driver_installed();

}  // namespace rondo

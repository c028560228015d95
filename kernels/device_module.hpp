// SPDX-License-Identifier: Apache-2.0
// The module librondo_cuda.so: found beside librondo.so, opened only when a GPU is asked for, so that ranks
// on CPUs never load CUDA's libraries. It exports one C symbol, rondo_device_module.
#pragma once

#include <memory>
#include <string>

#include "core/device.hpp"
#include "kernels/backend.hpp"

namespace rondo {

struct DeviceModule {
  /// What the module was built from; it must be the build_id() of the library that opens it.
  const char* build_id;
  /// Devices that can be used by this process; 0 with a reason where there is none. Never throws.
  int (*num_devices)(std::string& why_none);
  /// @throws DeviceError  @pre 0 <= ordinal < num_devices
  std::unique_ptr<Device> (*open_device)(int ordinal);
  /// @pre the device came from open_device and outlives the backend
  std::unique_ptr<Backend> (*make_backend)(Device& device);
};

/// Version, compiler and a digest of the interfaces that library and module share.
const char* build_id();

/// Opens the module, once for the process. @throws DeviceError that says what to install or enable: the
/// module is missing, cannot be loaded, or belongs to another build
const DeviceModule& device_module();

}  // namespace rondo

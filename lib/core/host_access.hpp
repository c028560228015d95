// SPDX-License-Identifier: Apache-2.0
// How host code reads and writes device memory piece by piece: in place on a CPU, through one staging buffer elsewhere.
#pragma once

#include <cstddef>
#include <functional>

#include "core/device.hpp"

namespace rondo {

class HostAccess {
 public:
  HostAccess(Device& device, Stream& stream) : device_(device), stream_(stream) {}

  /// A host view of the bytes at `from`, valid until the next call. Waits for the stream.
  const std::byte* read(const void* from, std::size_t bytes);
  /// fill(memory) writes `bytes` bytes, which are at `to` when this returns. Waits for the stream.
  void write(void* to, std::size_t bytes, const std::function<void(std::byte* memory)>& fill);

 private:
  bool is_direct() const { return device_.kind() == DeviceKind::Cpu; }
  std::byte* staging(std::size_t bytes);

  Device& device_;
  Stream& stream_;
  HostBuffer staging_;  // as large as the largest piece so far
};

}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
#include "core/host_access.hpp"

namespace rondo {

const std::byte* HostAccess::read(const void* from, std::size_t bytes) {
  if (is_direct()) return static_cast<const std::byte*>(from);
  std::byte* memory = staging(bytes);
  device_.copy(stream_, memory, from, bytes);
  device_.synchronize(stream_);
  return memory;
}

void HostAccess::write(void* to, std::size_t bytes, const std::function<void(std::byte*)>& fill) {
  if (is_direct()) return fill(static_cast<std::byte*>(to));
  std::byte* memory = staging(bytes);
  fill(memory);
  device_.copy(stream_, to, memory, bytes);
  device_.synchronize(stream_);  // the staging memory is reused
}

std::byte* HostAccess::staging(std::size_t bytes) {
  if (staging_.size_bytes() < bytes) {
    staging_ = HostBuffer();  // frees the old memory first
    staging_ = HostBuffer(device_, bytes);
  }
  return staging_.data();
}

}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
#include "plan/dry_device.hpp"

#include <cstdlib>
#include <new>

namespace rondo {

void* DryDevice::allocate(std::size_t bytes) {
  const std::uintptr_t first = next_;
  next_ += (bytes / kMemoryAlignment + 2) * kMemoryAlignment;  // a gap after each
  return reinterpret_cast<void*>(first);                       // NOLINT(performance-no-int-to-ptr)
}

void* DryDevice::allocate_pinned(std::size_t bytes) {
  void* memory = std::calloc(bytes == 0 ? 1 : bytes, 1);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

void DryDevice::free_pinned(void* memory) noexcept { std::free(memory); }

}  // namespace rondo

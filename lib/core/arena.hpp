// SPDX-License-Identifier: Apache-2.0
// Scratch memory handed out as a stack. It grows during the first step and is flat afterwards.
#pragma once

#include <cstddef>
#include <vector>

#include "core/device.hpp"

namespace rondo {

class Arena {
 public:
  Arena(Device& device, MemoryUse use) : device_(device), use_(use) {}
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  Device& device() { return device_; }

  /// Everything taken while a Scope lives is given back when it ends; scopes nest.
  class Scope {
   public:
    explicit Scope(Arena& arena) : arena_(arena), mark_(arena.used_bytes_) { ++arena.num_scopes_; }
    ~Scope() { arena_.close(mark_); }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Arena& arena_;
    std::size_t mark_;
  };

  /// Undefined contents, 64-byte aligned. @pre inside a Scope
  void* take(std::size_t bytes);
  TensorView take(DType dtype, const Shape& shape) {
    return {take(static_cast<std::size_t>(shape.count()) * size_of(dtype)), dtype, shape};
  }

 private:
  struct Block {
    Buffer memory;
    std::size_t first_byte;  // position of its first byte in the stack
  };
  void close(std::size_t mark) noexcept;

  Device& device_;
  MemoryUse use_;
  std::vector<Block> blocks_;
  std::size_t used_bytes_ = 0, peak_bytes_ = 0;
  int num_scopes_ = 0;
};

}  // namespace rondo

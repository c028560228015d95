// SPDX-License-Identifier: Apache-2.0
// Scratch memory handed out as a stack. It grows during the first step and keeps its size afterwards.
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

 private:
  struct Top {
    std::size_t position = 0;  // in the stack, including the unused ends of blocks
    std::size_t bytes = 0;     // handed out, without the unused ends: the size of one block for all
  };

 public:
  /// Everything taken during the lifetime of a Scope is released when it ends; scopes nest.
  class Scope {
   public:
    explicit Scope(Arena& arena) : arena_(arena), mark_(arena.top_) { ++arena.num_scopes_; }
    ~Scope() { arena_.close(mark_); }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Arena& arena_;
    Top mark_;
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
    std::size_t end_byte() const { return first_byte + memory.size_bytes(); }
  };
  void close(const Top& mark) noexcept;

  Device& device_;
  MemoryUse use_;
  std::vector<Block> blocks_;
  Top top_;
  std::size_t peak_bytes_ = 0;
  int num_scopes_ = 0;
};

}  // namespace rondo

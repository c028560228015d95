// SPDX-License-Identifier: Apache-2.0
#include "core/arena.hpp"

#include <algorithm>

namespace rondo {

namespace {

constexpr std::size_t kAlignment = 64;

}  // namespace

void* Arena::take(std::size_t bytes) {
  ensure(num_scopes_ > 0, "scratch is taken inside a scope");
  const std::size_t rounded = std::max(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment);
  // Find the block that holds the top of the stack; what does not fit goes to the start of a following block.
  for (Block& block : blocks_) {
    const std::size_t block_end = block.first_byte + block.memory.size_bytes();
    const std::size_t first = std::max(used_bytes_, block.first_byte);
    if (first + rounded <= block_end) {
      used_bytes_ = first + rounded;
      peak_bytes_ = std::max(peak_bytes_, used_bytes_);
      return static_cast<std::byte*>(block.memory.data()) + (first - block.first_byte);
    }
  }
  const std::size_t first_byte = blocks_.empty() ? 0 : blocks_.back().first_byte + blocks_.back().memory.size_bytes();
  blocks_.push_back({Buffer(device_, rounded, use_), first_byte});
  used_bytes_ = first_byte + rounded;
  peak_bytes_ = std::max(peak_bytes_, used_bytes_);
  return blocks_.back().memory.data();
}

void Arena::close(std::size_t mark) noexcept {
  used_bytes_ = mark;
  if (--num_scopes_ > 0 || blocks_.size() < 2) return;
  // The outermost scope has ended: one block of the size that was needed replaces the pieces.
  blocks_.clear();
  try {
    blocks_.push_back({Buffer(device_, peak_bytes_, use_), 0});
  } catch (const Error&) {
    blocks_.clear();  // the next take() allocates again and reports
  }
}

}  // namespace rondo

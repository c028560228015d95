// SPDX-License-Identifier: Apache-2.0
#include "core/arena.hpp"

#include <algorithm>

namespace rondo {

void* Arena::take(std::size_t bytes) {
  ensure(num_scopes_ > 0, "scratch is taken inside a scope");
  const std::size_t rounded =
      std::max(kMemoryAlignment, (bytes + kMemoryAlignment - 1) / kMemoryAlignment * kMemoryAlignment);
  const auto hand_out = [&](const Block& block, std::size_t first) {
    top_ = {first + rounded, top_.bytes + rounded};
    peak_bytes_ = std::max(peak_bytes_, top_.bytes);
    return static_cast<std::byte*>(block.memory.data()) + (first - block.first_byte);
  };
  // Find the block that holds the top of the stack; a piece that does not fit goes to the start of a later block.
  for (const Block& block : blocks_) {
    const std::size_t first = std::max(top_.position, block.first_byte);
    if (first + rounded <= block.end_byte()) return hand_out(block, first);
  }
  // Unused blocks that are too small are freed, so that the blocks of the first step never hold much more than the stack.
  while (!blocks_.empty() && blocks_.back().first_byte >= top_.position) blocks_.pop_back();
  const std::size_t first_byte = blocks_.empty() ? 0 : blocks_.back().end_byte();
  blocks_.push_back({Buffer(device_, rounded, use_), first_byte});
  return hand_out(blocks_.back(), first_byte);
}

void Arena::close(const Top& mark) noexcept {
  top_ = mark;
  if (--num_scopes_ > 0 || blocks_.size() < 2) return;
  // The outermost scope has ended: one block of the peak size replaces all blocks.
  blocks_.clear();
  try {
    blocks_.push_back({Buffer(device_, peak_bytes_, use_), 0});
  } catch (const Error&) {
    blocks_.clear();  // the next take() allocates again and reports
  }
}

}  // namespace rondo

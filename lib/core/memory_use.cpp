// SPDX-License-Identifier: Apache-2.0
#include "core/memory_use.hpp"

#include <algorithm>

namespace rondo {

std::string_view name_of(MemoryUse use) {
  switch (use) {
    case MemoryUse::Parameters: return "parameters";
    case MemoryUse::Gradients: return "gradients";
    case MemoryUse::Optimizer: return "optimizer";
    case MemoryUse::KeptActivations: return "kept_activations";
    case MemoryUse::Carry: return "carry";
    case MemoryUse::KeyValueSlots: return "key_value_slots";
    case MemoryUse::HeadChunk: return "head_chunk";
    case MemoryUse::Workspace: return "workspace";
    case MemoryUse::Transport: return "transport";
  }
  return "?";
}

void MemoryLedger::add(MemoryUse use, std::size_t bytes) {
  current_[index(use)] += bytes;
  peak_[index(use)] = std::max(peak_[index(use)], current_[index(use)]);
  current_total_ += bytes;
  peak_total_ = std::max(peak_total_, current_total_);
  ++num_allocations_;
}

void MemoryLedger::remove(MemoryUse use, std::size_t bytes) noexcept {
  current_[index(use)] -= bytes;
  current_total_ -= bytes;
}

}  // namespace rondo

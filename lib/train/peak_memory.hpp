// SPDX-License-Identifier: Apache-2.0
// The most memory that a rank has needed so far: by use, in all, and as the operating system counts the process.
#pragma once

#include <array>
#include <cstdint>

#include "comm/communicator.hpp"
#include "core/memory_use.hpp"

namespace rondo {

struct PeakMemory {
  std::array<std::int64_t, kNumMemoryUses> bytes{};  ///< by MemoryUse
  std::int64_t total_bytes = 0;                      ///< of all uses at one time
  std::int64_t resident_bytes = 0;                   ///< of the process, libraries included; 0 where nobody tells
};

PeakMemory peak_memory_of(const MemoryLedger& memory);
/// Each figure of the rank where it is largest. Collective.
PeakMemory largest_of_ranks(const Communicator& world, const PeakMemory& mine);

}  // namespace rondo

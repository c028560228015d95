// SPDX-License-Identifier: Apache-2.0
// The peak memory of a rank so far: by use, in total, and of the process as the operating system counts it.
#pragma once

#include <array>
#include <cstdint>

#include "comm/communicator.hpp"
#include "core/memory_use.hpp"

namespace rondo {

struct PeakMemory {
  std::array<std::int64_t, kNumMemoryUses> bytes{};  ///< by MemoryUse
  std::int64_t total_bytes = 0;                      ///< of all uses together
  std::int64_t resident_bytes = 0;                   ///< of the process, with its libraries; 0 if unknown
};

PeakMemory peak_memory_of(const MemoryLedger& memory);
/// The maximum of each figure over the ranks. Collective.
PeakMemory largest_of_ranks(const Communicator& world, const PeakMemory& mine);

}  // namespace rondo

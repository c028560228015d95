// SPDX-License-Identifier: Apache-2.0
#include "train/peak_memory.hpp"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <string>

#include "core/error.hpp"

namespace rondo {

namespace {

// getrusage() would include the peak of the launcher's process before it executed this program.
std::int64_t peak_resident_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    std::int64_t kibibytes = 0;
    if (word == "VmHWM:" && status >> kibibytes) return 1024 * kibibytes;
  }
  return 0;
}

}  // namespace

PeakMemory peak_memory_of(const MemoryLedger& memory) {
  PeakMemory peak;
  for (std::size_t use = 0; use < kNumMemoryUses; ++use) {
    peak.bytes[use] = static_cast<std::int64_t>(memory.peak_bytes(static_cast<MemoryUse>(use)));
  }
  peak.total_bytes = static_cast<std::int64_t>(memory.peak_total_bytes());
  peak.resident_bytes = peak_resident_bytes();
  return peak;
}

PeakMemory largest_of_ranks(const Communicator& world, const PeakMemory& mine) {
  PeakMemory largest;
  for (const std::string& bytes : world.all_gather({reinterpret_cast<const char*>(&mine), sizeof(mine)})) {
    PeakMemory theirs;
    ensure(bytes.size() == sizeof(theirs), "every rank sends its figures");
    std::memcpy(&theirs, bytes.data(), sizeof(theirs));
    for (std::size_t use = 0; use < kNumMemoryUses; ++use) {
      largest.bytes[use] = std::max(largest.bytes[use], theirs.bytes[use]);
    }
    largest.total_bytes = std::max(largest.total_bytes, theirs.total_bytes);
    largest.resident_bytes = std::max(largest.resident_bytes, theirs.resident_bytes);
  }
  return largest;
}

}  // namespace rondo

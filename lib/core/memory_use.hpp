// SPDX-License-Identifier: Apache-2.0
// What device memory is used for: the categories that a plan predicts and a run reports, and the ledger that counts them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace rondo {

enum class MemoryUse : std::uint8_t {
  Parameters,
  Gradients,
  Optimizer,
  KeptActivations,
  Carry,
  KeyValueSlots,
  HeadChunk,
  Workspace,
  Transport,
};
inline constexpr std::size_t kNumMemoryUses = 9;

std::string_view name_of(MemoryUse use);

/// Current and peak bytes by use. Not thread-safe: allocation happens on the thread that drives the device.
class MemoryLedger {
 public:
  void add(MemoryUse use, std::size_t bytes);
  void remove(MemoryUse use, std::size_t bytes) noexcept;

  std::size_t current_bytes(MemoryUse use) const { return current_[index(use)]; }
  std::size_t peak_bytes(MemoryUse use) const { return peak_[index(use)]; }
  std::size_t peak_total_bytes() const { return peak_total_; }
  /// The number of allocations so far; constant after the first steps of a run.
  std::uint64_t num_allocations() const { return num_allocations_; }

 private:
  static std::size_t index(MemoryUse use) { return static_cast<std::size_t>(use); }

  std::array<std::size_t, kNumMemoryUses> current_{}, peak_{};
  std::size_t current_total_ = 0, peak_total_ = 0;
  std::uint64_t num_allocations_ = 0;
};

}  // namespace rondo

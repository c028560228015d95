// SPDX-License-Identifier: Apache-2.0
// How a run of the compressive memory is cut into groups of steps: the arrays of a group take a bounded part of the scratch
// memory, however long the run is, and M is carried from group to group.
#pragma once

#include <algorithm>

#include "kernels/compressive_memory.hpp"

namespace rondo::cuda {

/// What the matrices of the steps of a group, [steps, G, D, D], and what the tokens that it writes, [tokens, G, D], may take.
inline constexpr std::int64_t kGroupBytes = std::int64_t{64} << 20;
inline constexpr std::int64_t kMostGroupSteps = 256;  // enough to fill a GPU

/// Tokens of a segment that is written, 0 where none is: then a segment may be longer than everything.
inline std::int64_t written_tokens(const MemorySchedule& schedule) {
  const bool writes = std::ranges::any_of(
      schedule.steps, [](const MemoryStep& step) { return step.first_key != MemoryStep::kNoWrite; });
  return writes ? schedule.segment_tokens : 0;
}

/// Consecutive groups of equally many steps, the last perhaps of fewer.
struct MemoryGroups {
  std::int64_t num_steps, steps_of_group;

  /// @param bytes_of_element  of the accumulator type
  static MemoryGroups of(const MemorySchedule& schedule, std::int64_t kv_heads, std::int64_t dim,
                         std::int64_t bytes_of_element) {
    const std::int64_t rows = std::max(dim, written_tokens(schedule));
    const std::int64_t steps = kGroupBytes / std::max<std::int64_t>(1, rows * kv_heads * dim * bytes_of_element);
    return {schedule.num_steps(), std::clamp<std::int64_t>(steps, 1, kMostGroupSteps)};
  }

  std::int64_t count() const { return (num_steps + steps_of_group - 1) / steps_of_group; }
  std::int64_t first(std::int64_t group) const { return group * steps_of_group; }
  std::int64_t end(std::int64_t group) const { return std::min(num_steps, first(group + 1)); }
};

/// The most queries of a step. Kernels count the tokens of a step in 32 bits.
inline std::int64_t most_queries(const MemorySchedule& schedule) {
  std::int64_t most = 0;
  for (const MemoryStep& step : schedule.steps) most = std::max(most, step.num_queries);
  constexpr std::int64_t kMost = std::int64_t{1} << 30;
  ensure(most < kMost && written_tokens(schedule) < kMost, "a step has fewer than 2^30 tokens");
  return most;
}

}  // namespace rondo::cuda

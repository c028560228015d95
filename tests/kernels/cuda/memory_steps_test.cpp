// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/memory_steps.hpp"

#include <gtest/gtest.h>

namespace rondo::test {
namespace {

using cuda::kGroupBytes;
using cuda::kMostGroupSteps;
using cuda::MemoryGroups;
using cuda::most_queries;

/// A step reads a segment and, if there are keys for it, writes one.
MemorySchedule schedule_of(std::int64_t segment_tokens, std::int64_t num_steps, std::int64_t num_writes) {
  MemorySchedule schedule{.segment_tokens = segment_tokens, .steps = {}};
  for (std::int64_t s = 0; s < num_steps; ++s) {
    schedule.steps.push_back({.is_reset = false,
                              .first_query = s * 10,
                              .num_queries = 10,
                              .first_key = s < num_writes ? s * segment_tokens : MemoryStep::kNoWrite});
  }
  return schedule;
}

TEST(MemoryGroups, HoldEveryStepOnceInOrder) {
  for (const std::int64_t num_steps : {std::int64_t{0}, std::int64_t{1}, kMostGroupSteps, 3 * kMostGroupSteps + 1}) {
    const MemoryGroups groups = MemoryGroups::of(schedule_of(4, num_steps, num_steps), 1, 4, 4);
    std::int64_t end = 0;
    for (std::int64_t group = 0; group < groups.count(); ++group) {
      EXPECT_EQ(groups.first(group), end);
      EXPECT_GT(groups.end(group), groups.first(group));
      end = groups.end(group);
    }
    EXPECT_EQ(end, num_steps);
  }
}

TEST(MemoryGroups, TakeNoMoreThanTheirShareOfTheScratchMemory) {
  // Matrices of 8 heads of 128 dimensions: 512 KiB in fp32; the rows of a segment of 2,048 tokens 8 MiB.
  EXPECT_EQ(MemoryGroups::of(schedule_of(64, 1000, 1000), 8, 128, 4).steps_of_group, 128);
  EXPECT_EQ(MemoryGroups::of(schedule_of(2048, 1000, 1000), 8, 128, 4).steps_of_group, 8);
  EXPECT_EQ(MemoryGroups::of(schedule_of(std::int64_t{1} << 20, 1000, 1000), 8, 128, 4).steps_of_group, 1);
  EXPECT_EQ(MemoryGroups::of(schedule_of(4, 1000, 1000), 1, 4, 4).steps_of_group, kMostGroupSteps);
  EXPECT_EQ(kGroupBytes, 128 * 8 * 128 * 128 * 4);
}

TEST(MemoryGroups, DoNotCountSegmentsThatAreNeverWritten) {
  EXPECT_EQ(MemoryGroups::of(schedule_of(std::int64_t{1} << 40, 1000, 0), 8, 128, 4).steps_of_group, 128);
  EXPECT_EQ(most_queries(schedule_of(std::int64_t{1} << 40, 3, 0)), 10);
}

}  // namespace
}  // namespace rondo::test

// SPDX-License-Identifier: Apache-2.0
#include "core/token_runs.hpp"

#include <gtest/gtest.h>

namespace rondo {
namespace {

TEST(TokenRuns, KeepLocalIndicesContiguous) {
  TokenRuns runs;
  runs.append(3, 1, 4);
  runs.append(20, 5, 3);

  ASSERT_EQ(runs.num_runs(), 2);
  EXPECT_EQ(runs.num_tokens(), 7);
  EXPECT_EQ(runs[0].local_first, 0);
  EXPECT_EQ(runs[1].local_first, 4);
  const std::int64_t expected[] = {3, 4, 5, 6, 20, 25, 30};
  for (std::int64_t local = 0; local < 7; ++local) EXPECT_EQ(runs.global_of(local), expected[local]);
  EXPECT_EQ(runs[1].global_last(), 30);
}

TEST(TokenRuns, DropEmptyRuns) {
  TokenRuns runs;
  runs.append(7, 1, 0);
  EXPECT_EQ(runs.num_runs(), 0);
  runs.append(7, 1, 2);
  runs.append(9, 1, 0);
  EXPECT_EQ(runs.num_runs(), 1);
  EXPECT_EQ(runs, TokenRuns::contiguous(7, 2));
}

TEST(TokenRuns, HoldPositionsBeyondThirtyTwoBits) {
  const TokenRuns runs = TokenRuns::contiguous(std::int64_t{1} << 40, 10);
  EXPECT_EQ(runs.global_of(9), (std::int64_t{1} << 40) + 9);
}

TEST(TokenRuns, RefuseANinthRun) {
  TokenRuns runs;
  for (int run = 0; run < TokenRuns::kMaxRuns; ++run) runs.append(10 * run, 1, 1);
  EXPECT_THROW(runs.append(1000, 1, 1), Error);
}

}  // namespace
}  // namespace rondo

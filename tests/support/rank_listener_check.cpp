// SPDX-License-Identifier: Apache-2.0
// Fails on one rank on purpose; its ctest entry passes when rank 0 has printed that failure.
#include <gtest/gtest.h>
#include <mpi.h>

namespace rondo::test {
namespace {

TEST(RankListener, FailsOnTheLastRankOnly) {
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  EXPECT_NE(rank, 2);
}

}  // namespace
}  // namespace rondo::test

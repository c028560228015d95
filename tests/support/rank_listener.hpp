// SPDX-License-Identifier: Apache-2.0
// Collects the failures of all ranks of a test program and prints them once, on rank 0, with the rank that failed.
#pragma once

#include <gtest/gtest.h>
#include <mpi.h>
#include <string>

namespace rondo::test {

/// Replaces the printer on all ranks but 0. Of MPI it owns only a duplicate of `world`.
class RankListener final : public testing::EmptyTestEventListener {
 public:
  explicit RankListener(MPI_Comm world);

  void OnTestPartResult(const testing::TestPartResult& result) override;
  /// Collective. A failed rank whose peers do not arrive prints its own failures and aborts all ranks.
  void OnTestEnd(const testing::TestInfo& test) override;

  bool any_rank_failed() const { return any_rank_failed_; }

 private:
  void wait_for_peers(const testing::TestInfo& test);
  void print_failures_of_all_ranks(const testing::TestInfo& test);

  MPI_Comm world_ = MPI_COMM_NULL;
  int rank_ = 0, num_ranks_ = 1;
  std::string failures_;  // of the running test, on this rank
  bool any_rank_failed_ = false;
};

}  // namespace rondo::test

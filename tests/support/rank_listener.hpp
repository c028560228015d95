// SPDX-License-Identifier: Apache-2.0
// Collects what failed on every rank of a test program and prints it once, on rank 0, under the rank that it
// happened on.
#pragma once

#include <gtest/gtest.h>
#include <mpi.h>
#include <string>

namespace rondo::test {

/// Takes the place of the printer on all ranks but 0. Owns nothing of MPI but a duplicate of `world`.
class RankListener final : public testing::EmptyTestEventListener {
 public:
  explicit RankListener(MPI_Comm world);

  void OnTestPartResult(const testing::TestPartResult& result) override;
  /// Collective: meets the other ranks. A failed rank whose peers do not come prints for itself and ends them
  /// all.
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

// SPDX-License-Identifier: Apache-2.0
#include "tests/support/rank_listener.hpp"

#include <chrono>
#include <cstdio>
#include <numeric>
#include <unistd.h>
#include <vector>

namespace rondo::test {

namespace {

// After this time a rank that failed considers its peers stuck: they wait for a message that it never sent.
constexpr std::chrono::seconds kPatience{20};

}  // namespace

RankListener::RankListener(MPI_Comm world) {
  MPI_Comm_dup(world, &world_);  // freed by MPI_Finalize: the listener outlives it
  MPI_Comm_rank(world_, &rank_);
  MPI_Comm_size(world_, &num_ranks_);
}

void RankListener::OnTestPartResult(const testing::TestPartResult& result) {
  if (!result.failed()) return;
  const std::string file = result.file_name() == nullptr ? "?" : result.file_name();
  failures_ += file + ":" + std::to_string(result.line_number()) + ": " + result.message() + "\n";
}

void RankListener::OnTestEnd(const testing::TestInfo& test) {
  wait_for_peers(test);
  print_failures_of_all_ranks(test);
  failures_.clear();
}

void RankListener::wait_for_peers(const testing::TestInfo& test) {
  MPI_Request all_here = MPI_REQUEST_NULL;
  MPI_Ibarrier(world_, &all_here);
  const auto give_up = std::chrono::steady_clock::now() + kPatience;
  int done = 0;
  for (MPI_Test(&all_here, &done, MPI_STATUS_IGNORE); done == 0; MPI_Test(&all_here, &done, MPI_STATUS_IGNORE)) {
    if (!failures_.empty() && std::chrono::steady_clock::now() > give_up) {
      std::fprintf(stderr, "%s.%s failed on rank %d while other ranks still wait in it:\n%s", test.test_suite_name(),
                   test.name(), rank_, failures_.c_str());
      MPI_Abort(world_, 1);
    }
    usleep(100);  // ranks share cores: yields to those that still compute
  }
}

void RankListener::print_failures_of_all_ranks(const testing::TestInfo& test) {
  int num_bytes = static_cast<int>(failures_.size());
  std::vector<int> counts(static_cast<std::size_t>(num_ranks_));
  MPI_Allgather(&num_bytes, 1, MPI_INT, counts.data(), 1, MPI_INT, world_);
  const int total = std::accumulate(counts.begin(), counts.end(), 0);
  if (total == 0) return;
  any_rank_failed_ = true;
  std::vector<int> first(counts.size(), 0);
  std::partial_sum(counts.begin(), counts.end() - 1, first.begin() + 1);
  std::string all(static_cast<std::size_t>(total), '\0');
  MPI_Gatherv(failures_.data(), num_bytes, MPI_CHAR, all.data(), counts.data(), first.data(), MPI_CHAR, 0, world_);
  if (rank_ != 0) return;
  for (std::size_t rank = 1; rank < counts.size(); ++rank) {  // rank 0 has printed its own as they happened
    if (counts[rank] == 0) continue;
    const std::string text = all.substr(static_cast<std::size_t>(first[rank]), static_cast<std::size_t>(counts[rank]));
    std::printf("[ rank %zu ] %s.%s failed:\n%s", rank, test.test_suite_name(), test.name(), text.c_str());
  }
  std::fflush(stdout);
}

}  // namespace rondo::test

// SPDX-License-Identifier: Apache-2.0
// Collective start of NCCL. NCCL connects its ranks without blocking, and the ranks exchange their progress over MPI, so that
// a rank that fails, dies or hangs meanwhile ends all ranks with an error.
#pragma once

#include <chrono>

#include "comm/communicator.hpp"

namespace rondo {

class NcclStart {
 public:
  /// @param limit within which the ranks must connect
  /// @param answer_limit after which a peer that does not answer counts as lost
  NcclStart(const Communicator& world, std::chrono::milliseconds limit, std::chrono::milliseconds answer_limit);

  /// Collective; called repeatedly until it returns true. @returns whether every rank is ready
  /// @throws AgreedError if a rank calls fail(), or if the limit has passed and some rank is not ready; CommError if a
  /// peer does not answer
  bool all_ready(bool is_ready);

  /// Called in place of all_ready() on a rank that cannot continue. @throws AgreedError on all ranks, or this error on this
  /// rank alone if the peers do not answer
  [[noreturn]] void fail(const Error& mine);

  /// Whether one of the two has thrown. All ranks that answer then know of it.
  bool is_over() const { return is_over_; }

 private:
  [[noreturn]] void time_out(bool is_ready);

  const Communicator& world_;
  std::chrono::milliseconds limit_, answer_limit_;
  std::chrono::steady_clock::time_point end_;
  bool is_over_ = false;
};

/// The time limit for this many ranks to connect: two minutes, and more for hundreds of ranks.
std::chrono::seconds nccl_start_limit(int num_ranks);

}  // namespace rondo

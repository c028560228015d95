// SPDX-License-Identifier: Apache-2.0
// The start of NCCL as all ranks see it. NCCL connects its ranks without blocking, and this asks over MPI how far they are, so
// that a rank which fails, dies or hangs meanwhile ends all of them with an error.
#pragma once

#include <chrono>

#include "comm/communicator.hpp"

namespace rondo {

class NcclStart {
 public:
  /// @param limit within which the ranks must connect
  /// @param answer_limit a peer that does not answer for so long is taken for lost
  NcclStart(const Communicator& world, std::chrono::milliseconds limit, std::chrono::milliseconds answer_limit);

  /// Collective, again and again until it returns true. @returns whether every rank is ready
  /// @throws AgreedError when a rank calls fail(), or when the limit has passed and some rank is not ready; CommError when a
  /// peer does not answer
  bool all_ready(bool is_ready);

  /// Takes the place of a call of all_ready() on a rank that cannot go on. @throws AgreedError on all ranks, or this error alone
  /// when the peers do not answer
  [[noreturn]] void fail(const Error& mine);

  /// Has one of the two thrown? Then all that answer know.
  bool is_over() const { return is_over_; }

 private:
  [[noreturn]] void time_out(bool is_ready);

  const Communicator& world_;
  std::chrono::milliseconds limit_, answer_limit_;
  std::chrono::steady_clock::time_point end_;
  bool is_over_ = false;
};

/// How long that many ranks may take: seconds as a rule, minutes for thousands of ranks.
std::chrono::seconds nccl_start_limit(int num_ranks);

}  // namespace rondo

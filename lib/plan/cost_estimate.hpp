// SPDX-License-Identifier: Apache-2.0
// What a configuration will cost: parameters, arithmetic, messages and the memory of a rank.
#pragma once

#include <array>
#include <cstdint>

#include "config/run_config.hpp"
#include "core/memory_use.hpp"

namespace rondo {

/// Indexed by MemoryUse.
using MemoryEstimate = std::array<std::int64_t, kNumMemoryUses>;

struct CostEstimate {
  std::int64_t num_parameters = 0;
  std::int64_t tokens_per_step = 0;
  /// Model FLOP of training, which MFU is a shard of: sequences of one document each, nothing computed again (model_flops()).
  double flops_per_token = 0;
  /// What the kernels compute, with what is computed again in backward; over all ranks.
  double computed_flops_per_token = 0;
  std::int64_t checkpoint_bytes = 0;
  /// Of the rank where each is largest: peaks of each use, and of all at one time.
  MemoryEstimate memory_bytes{};
  std::int64_t memory_total_bytes = 0;
  /// Sent by the rank that sends most, in a step.
  double sent_bytes_per_step = 0;
  double messages_per_step = 0;
};

/// Where the configuration will run.
struct CostPlace {
  int world_size = 1;
  int threads = 0;  ///< of a rank on a CPU; 0: parallel.threads, or the cores of this host divided among the ranks
  /// Tokens of the validation part; it is evaluated in sequences of that many at most. 0: there is none.
  std::int64_t validation_tokens = 0;
};

/// By dry runs of the ranks that differ. @pre the configuration is resolved
CostEstimate estimate_cost(const RunConfig& config, const CostPlace& place);

}  // namespace rondo

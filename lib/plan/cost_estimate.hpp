// SPDX-License-Identifier: Apache-2.0
// Estimates what a configuration costs: parameters, arithmetic, messages and memory per rank.
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
  /// Model FLOP of training, the basis of MFU: sequences of one document each, without recomputation (model_flops()).
  double flops_per_token = 0;
  /// FLOP that the kernels compute, with recomputation in backward; over all ranks.
  double computed_flops_per_token = 0;
  std::int64_t checkpoint_bytes = 0;
  /// The maximum over the ranks of the peak of each use, and of all uses together.
  MemoryEstimate memory_bytes{};
  std::int64_t memory_total_bytes = 0;
  /// Per step, on the rank that sends most.
  double sent_bytes_per_step = 0;
  double messages_per_step = 0;
};

/// Where the configuration will run.
struct CostPlace {
  int world_size = 1;
  int threads = 0;  ///< per rank on a CPU; 0: parallel.threads, or this host's cores divided by the number of ranks
  /// Tokens of the validation split, which bound the length of an evaluated sequence; 0: there is no validation.
  std::int64_t validation_tokens = 0;
};

/// Estimates by dry runs of the ranks that differ. @pre the configuration is resolved
CostEstimate estimate_cost(const RunConfig& config, const CostPlace& place);

}  // namespace rondo

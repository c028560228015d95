// SPDX-License-Identifier: Apache-2.0
// What a configuration will cost, in closed form: parameters, arithmetic and the memory of a rank.
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
  double flops_per_token = 0;  ///< training, sequences of one document each; recomputation is not counted
  std::int64_t checkpoint_bytes = 0;
  MemoryEstimate memory_bytes{};  ///< of the rank with the largest share, without what the transport takes

  std::int64_t memory_total_bytes() const;
};

/// @pre the configuration is resolved
CostEstimate estimate_cost(const RunConfig& config);

/// (query, key) pairs of a causal sequence of one document. @param window 0: none
double causal_pairs(std::int64_t sequence_length, std::int64_t window);
/// The same where a query sees its own segment and so many before it.
double segment_pairs(std::int64_t sequence_length, std::int64_t segment_tokens, std::int64_t window_segments);

}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
// The cost of a step on one rank: runs the training step itself on a device, a backend and transports that only count. Its
// control flow does not depend on values, so model, ring and optimizer need no second description.
#pragma once

#include <functional>
#include <span>

#include "config/run_config.hpp"
#include "core/memory_use.hpp"
#include "plan/dry_backend.hpp"

namespace rondo {

/// The rank that is run, and the documents of its sequence.
struct DryRunInput {
  int world_size = 1;
  int rank = 0;
  int threads = 1;  ///< per rank on a CPU
  /// Document offsets: the first is 0, the last the sequence length; empty: one document.
  std::span<const std::int64_t> documents = {};
  /// Tokens of the longest evaluated sequence; 0: no evaluation.
  std::int64_t evaluation_tokens = 0;
  /// Called with every block of attention's forward pass; its tensors have no memory.
  std::function<void(const BlockAttentionForwardArgs&)> on_attention = {};
};

struct RankCost {
  std::array<std::int64_t, kNumMemoryUses> peak_bytes{};  ///< by MemoryUse
  std::int64_t peak_total_bytes = 0;                      ///< of all uses together
  OperationCounts operations{};                           ///< of one step, by Operation
  double flops = 0;                                       ///< of one step, with recomputation
  double sent_bytes = 0;       ///< in one step, in the ring and to sum gradients, as Transport::sent_bytes() counts
  double broadcast_bytes = 0;  ///< in one step, of broadcasts with this rank as root
  double num_messages = 0;     ///< in one step; a broadcast counts as one
};

/// Runs the first step, counting one micro-batch for all, and the first span of an evaluation if there is one.
/// @pre the configuration is resolved, and world_size is a multiple of its ring
RankCost dry_run(const RunConfig& config, const DryRunInput& input);

/// The number of (query, key) pairs that attend in a sequence of one document, over all ranks; the mean over the layers.
/// @pre the configuration is resolved
double attended_pairs_of_sequence(const RunConfig& config);

}  // namespace rondo

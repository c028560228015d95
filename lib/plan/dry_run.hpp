// SPDX-License-Identifier: Apache-2.0
// What a step costs a rank: the training step itself, run on a device, a backend and transports that only count. Its control
// flow depends on no value, so nothing of the model, the ring or the optimizer is described a second time.
#pragma once

#include <functional>
#include <span>

#include "config/run_config.hpp"
#include "core/memory_use.hpp"
#include "plan/dry_backend.hpp"

namespace rondo {

/// Where a step is run, and on what.
struct DryRunInput {
  int world_size = 1;
  int rank = 0;
  int threads = 1;  ///< of a rank on a CPU
  /// First 0, last the sequence's tokens; empty: one document.
  std::span<const std::int64_t> documents = {};
  /// Of the longest sequence that is evaluated; 0: none is.
  std::int64_t evaluation_tokens = 0;
  /// Shown every block of the forward pass of attention; its tensors have no memory.
  std::function<void(const BlockAttentionForwardArgs&)> on_attention = {};
};

struct RankCost {
  std::array<std::int64_t, kNumMemoryUses> peak_bytes{};  ///< by MemoryUse
  std::int64_t peak_total_bytes = 0;                      ///< of all uses at one time
  OperationCounts operations{};                           ///< of one step, by Operation
  double flops = 0;                                       ///< of one step, with what is computed again
  double sent_bytes = 0;       ///< in one step, to the ring and to sum gradients: as Transport::sent_bytes() counts
  double broadcast_bytes = 0;  ///< in one step, of what this rank is the root of
  double num_messages = 0;     ///< in one step, each broadcast one
};

/// Runs the first step, of a sequence for each micro-batch, and where there is an evaluation its first span.
/// @pre the configuration is resolved, and world_size is a multiple of its ring
RankCost dry_run(const RunConfig& config, const DryRunInput& input);

/// (query, key) pairs that attend in a sequence of one document, over all ranks and in the mean over the layers.
/// @pre the configuration is resolved
double attended_pairs_of_sequence(const RunConfig& config);

}  // namespace rondo

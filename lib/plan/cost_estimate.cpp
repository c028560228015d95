// SPDX-License-Identifier: Apache-2.0
#include "plan/cost_estimate.hpp"

#include <algorithm>
#include <set>
#include <thread>

#include "model/shape_of.hpp"
#include "plan/dry_run.hpp"
#include "train/adamw.hpp"

namespace rondo {

namespace {

constexpr int kMostRanksRun = 8;

/// All ranks of a small ring. In a large ring, those that can need the most: the first, the last one with a longest shard, and
/// those in the middle and at the end, which attend to the most remote keys.
std::set<int> ranks_to_run(int ring, std::int64_t sequence_tokens) {
  std::set<int> ranks;
  if (ring <= kMostRanksRun) {
    for (int rank = 0; rank < ring; ++rank) ranks.insert(rank);
    return ranks;
  }
  const int longer = static_cast<int>(sequence_tokens % ring);  // number of contiguous shards with one more token
  for (const int rank : {0, 1, longer - 1, ring / 2 - 1, ring / 2, ring - 2, ring - 1}) {
    ranks.insert(std::clamp(rank, 0, ring - 1));
  }
  return ranks;
}

int threads_of(const RunConfig& config, const CostPlace& place) {
  if (place.threads > 0) return place.threads;
  if (config.parallel.threads > 0) return config.parallel.threads;
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()) / place.world_size);
}

}  // namespace

CostEstimate estimate_cost(const RunConfig& config, const CostPlace& place) {
  ensure(config.parallel.ring > 0 && config.parallel.layout.has_value(), "the configuration is resolved");
  const TransformerShape shape = shape_of(config);
  const std::int64_t tokens = config.data.sequence_length;
  const auto master = static_cast<std::int64_t>(size_of(accumulator_of(dtype_of_compute(config.precision.compute))));
  CostEstimate cost;
  cost.num_parameters = num_parameters(shape);
  cost.tokens_per_step = config.train.batch_sequences * tokens;
  // by the convention of MFU: sequences of one document each
  const double model_flops_of_sequence =
      model_flops(shape, static_cast<double>(tokens), attended_pairs_of_sequence(config));
  cost.flops_per_token = model_flops_of_sequence / static_cast<double>(tokens);
  cost.checkpoint_bytes = cost.num_parameters * (1 + kNumMoments) * master;

  const std::set<int> ranks = ranks_to_run(config.parallel.ring, tokens);
  double flops = 0;  // of a step
  for (const int rank : ranks) {
    const RankCost mine = dry_run(config, {.world_size = place.world_size,
                                           .rank = rank,
                                           .threads = threads_of(config, place),
                                           .evaluation_tokens = std::min(tokens, place.validation_tokens)});
    for (std::size_t use = 0; use < kNumMemoryUses; ++use) {
      cost.memory_bytes[use] = std::max(cost.memory_bytes[use], mine.peak_bytes[use]);
    }
    cost.memory_total_bytes = std::max(cost.memory_total_bytes, mine.peak_total_bytes);
    cost.sent_bytes_per_step = std::max(cost.sent_bytes_per_step, mine.sent_bytes + mine.broadcast_bytes);
    cost.messages_per_step = std::max(cost.messages_per_step, mine.num_messages);
    flops += mine.flops;
  }
  // the mean over the ranks that were run, times all ranks
  const double of_all = flops * static_cast<double>(place.world_size) / static_cast<double>(ranks.size());
  cost.computed_flops_per_token = of_all / static_cast<double>(cost.tokens_per_step);
  return cost;
}

}  // namespace rondo

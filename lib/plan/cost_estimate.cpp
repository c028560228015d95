// SPDX-License-Identifier: Apache-2.0
#include "plan/cost_estimate.hpp"

#include <algorithm>
#include <numeric>

#include "core/sequence_layout.hpp"
#include "model/shape_of.hpp"

namespace rondo {

namespace {

constexpr std::int64_t kMoments = 2;  // AdamW

MemoryEstimate estimate_memory(const RunConfig& config, const TransformerShape& shape) {
  const DType compute = dtype_of_compute(config.precision.compute);
  const auto storage = static_cast<std::int64_t>(size_of(compute));
  const auto accumulator = static_cast<std::int64_t>(size_of(accumulator_of(compute)));
  const std::int64_t tokens =
      SequenceLayout(config.data.sequence_length, config.parallel.ring, *config.parallel.layout).max_tokens();
  const std::int64_t parameters = num_parameters(shape);
  const std::int64_t key_values = 2 * tokens * shape.kv_heads * shape.head_dim;  // of one share
  const std::int64_t chunk = std::min(shape.head_chunk_tokens, tokens);

  MemoryEstimate bytes{};
  const auto of = [&bytes](MemoryUse use) -> std::int64_t& { return bytes[static_cast<std::size_t>(use)]; };
  of(MemoryUse::Parameters) = parameters * (accumulator + (compute == DType::Bf16 ? storage : 0));
  of(MemoryUse::Gradients) = parameters * accumulator;
  of(MemoryUse::Optimizer) = parameters * kMoments * accumulator;
  // Of every layer its input, the attention output and the log-sum-exp.
  of(MemoryUse::KeptActivations) =
      shape.layers * tokens *
      (shape.d_model * storage + shape.heads * shape.head_dim * accumulator + shape.heads * accumulator);
  // Two remote shares; in backward also two travelling sums, a contribution and what comes home.
  if (config.parallel.ring > 1) of(MemoryUse::KeyValueSlots) = key_values * (2 * storage + 4 * accumulator);
  of(MemoryUse::HeadChunk) = chunk * (shape.vocabulary * (accumulator + storage) + 2 * shape.d_model * storage);
  return bytes;
}

}  // namespace

std::int64_t CostEstimate::memory_total_bytes() const {
  return std::accumulate(memory_bytes.begin(), memory_bytes.end(), std::int64_t{0});
}

double causal_pairs(std::int64_t sequence_length, std::int64_t window) {
  const auto tokens = static_cast<double>(sequence_length);
  const double w = window > 0 ? static_cast<double>(std::min(window, sequence_length)) : tokens;
  return tokens * w - w * (w - 1.0) / 2.0;  // the first w - 1 queries see fewer than w keys
}

CostEstimate estimate_cost(const RunConfig& config) {
  ensure(config.parallel.ring > 0 && config.parallel.layout.has_value(), "the configuration is resolved");
  const TransformerShape shape = shape_of(config);
  const auto tokens = static_cast<double>(config.data.sequence_length);
  const double pairs = causal_pairs(config.data.sequence_length, config.model.window);
  const auto master = static_cast<std::int64_t>(size_of(accumulator_of(dtype_of_compute(config.precision.compute))));
  CostEstimate cost;
  cost.num_parameters = num_parameters(shape);
  cost.tokens_per_step = config.train.batch_sequences * config.data.sequence_length;
  cost.flops_per_token = model_flops(shape, tokens, pairs) / tokens;
  cost.checkpoint_bytes = cost.num_parameters * (1 + kMoments) * master;
  cost.memory_bytes = estimate_memory(config, shape);
  return cost;
}

}  // namespace rondo

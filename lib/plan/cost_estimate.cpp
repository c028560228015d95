// SPDX-License-Identifier: Apache-2.0
#include "plan/cost_estimate.hpp"

#include <algorithm>
#include <numeric>

#include "comm/reduction_parts.hpp"
#include "core/sequence_layout.hpp"
#include "model/shape_of.hpp"

namespace rondo {

namespace {

constexpr std::int64_t kMoments = 2;  // AdamW
// The backward pass of a norm sums so many chunks of tokens at most, each of this many tokens at least.
constexpr std::int64_t kMostNormChunks = 4096, kFewestNormTokens = 8;
// Of the CUDA backend from its start: cublasLt's and that of the sums.
constexpr std::int64_t kGpuWorkspaceBytes = (std::int64_t{32} << 20) + (std::int64_t{1} << 19);

// What cuDNN's attention takes beside its arguments, all fp32: forward a partial output; backward, for one member of each
// group of query heads at a time, partial d_q, d_k and d_v, the log-sum-exp, and a workspace as large as d_q (docs/gpu-status.md).
std::int64_t attention_workspace(const TransformerShape& s, std::int64_t tokens) {
  const std::int64_t fp32 = size_of(DType::Fp32);
  const std::int64_t forward = tokens * s.heads * (s.head_dim + 1) * fp32;
  const std::int64_t backward = tokens * s.kv_heads * (4 * s.head_dim + 2) * fp32;
  return std::max(forward, backward);
}

/// The scratch of a step at its height, in the backward pass of a block. On CPUs without that of the kernels themselves.
std::int64_t estimate_workspace(const RunConfig& config, const TransformerShape& s, std::int64_t tokens) {
  const DType compute = dtype_of_compute(config.precision.compute);
  const auto storage = static_cast<std::int64_t>(size_of(compute));
  const auto accumulator = static_cast<std::int64_t>(size_of(accumulator_of(compute)));
  const bool on_gpu = config.parallel.device == DeviceChoice::Cuda;

  const std::int64_t stream = tokens * s.d_model * storage;             // [T, C]
  const std::int64_t heads = tokens * s.attention_columns() * storage;  // [T, N*D]
  const std::int64_t qkv = tokens * s.qkv_columns();                    // [T, (N+2G)*D]
  const std::int64_t norm = std::min(tokens / kFewestNormTokens + 1, kMostNormChunks) * s.d_model * accumulator;
  // x, d_x; normed, qkv, heads_out, middle
  const std::int64_t throughout = 4 * stream + qkv * storage + heads;
  // normed, gate_up, a; d_a, d_gate_up, d_normed, of a chunk
  const std::int64_t feed_forward =
      std::min(s.ffn_chunk_tokens, tokens) * (2 * s.d_model + 6 * s.d_ff) * storage + norm;
  // d_heads_out, d_qkv; q, k, v, d_q, d_k, d_v, delta
  const std::int64_t attention = heads + 2 * qkv * storage + qkv * accumulator + tokens * s.heads * accumulator +
                                 (on_gpu ? attention_workspace(s, tokens) : 0);
  const std::int64_t behind_attention = heads + qkv * storage + stream + norm;  // d_heads_out, d_qkv, d_normed
  const std::int64_t step = throughout + std::max({feed_forward, attention, behind_attention});

  const int ring = config.parallel.ring;
  const std::int64_t sum_over_ranks = ring > 1 ? static_cast<std::int64_t>(slab_bytes(ring)) : 0;
  // of the trainer and of the evaluator: tokens, targets, losses
  const std::int64_t batches =
      2 * tokens * static_cast<std::int64_t>(2 * sizeof(std::int32_t) + size_of(accumulator_of(compute)));
  return std::max(step, sum_over_ranks) + batches + (on_gpu ? kGpuWorkspaceBytes : 0);
}

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
  of(MemoryUse::Workspace) = estimate_workspace(config, shape, tokens);
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

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

/// Tokens of other ranks whose keys a rank needs beside its own in a layer with a memory: those in sight of its first query.
std::int64_t borrowed_tokens(const RunConfig& config, const SegmentRule& segments, std::int64_t tokens) {
  const std::int64_t others = config.data.sequence_length - tokens;
  if (segments.segment_tokens > others / (segments.window_segments + 1)) return others;
  return (segments.window_segments + 1) * segments.segment_tokens;
}

// Of the memory's kernels on a GPU: matrices of a group of steps, for delta rules also rows of the tokens that it writes, each
// array 64 MiB at most (kernels/cuda/memory_steps.hpp); and two numbers for each read.
std::int64_t memory_kernels_workspace(const TransformerShape& s, std::int64_t tokens) {
  constexpr std::int64_t kGroupBytes = std::int64_t{64} << 20;
  const std::int64_t fp32 = size_of(DType::Fp32), segment = std::min(s.segments.segment_tokens, tokens);
  const std::int64_t rows = (tokens / segment + 2) * std::max(s.head_dim, segment);
  const std::int64_t arrays = s.segments.memory_rule == MemoryRule::Linear ? 2 : 5;
  return arrays * std::min(kGroupBytes, rows * s.kv_heads * s.head_dim * fp32) + 2 * tokens * s.heads * fp32;
}

/// The backward pass of a layer with a memory: queries and keys with and without turning, what was read, gradients of them all.
std::int64_t memory_layer_workspace(const RunConfig& config, const TransformerShape& s, std::int64_t tokens) {
  const DType compute = dtype_of_compute(config.precision.compute);
  const auto storage = static_cast<std::int64_t>(size_of(compute));
  const auto accumulator = static_cast<std::int64_t>(size_of(accumulator_of(compute)));
  const std::int64_t borrowed = borrowed_tokens(config, s.segments, tokens);
  const std::int64_t queries = tokens * s.attention_columns(), own_keys = tokens * s.kv_heads * s.head_dim;
  const std::int64_t keys = own_keys + borrowed * s.kv_heads * s.head_dim, copies = borrowed > 0 ? 3 * own_keys : 0;
  const std::int64_t qkv = tokens * s.qkv_columns(), normaliser = tokens * s.heads;
  // z and u before every step, and their gradients
  const auto vectors =
      4 * (tokens / s.segments.segment_tokens + 2) * s.kv_heads * s.head_dim * std::int64_t{sizeof(double)};
  // d_heads_out, d_qkv; q, k with and without turning, v; d_local
  const std::int64_t stored = queries + qkv + 2 * queries + 3 * keys + copies + queries;
  // what was read and its gradient; those of q and k with and without turning, of v; the normaliser and delta
  const std::int64_t summed = 2 * queries + 2 * queries + 3 * keys + 2 * normaliser;
  // d_qkv of what was turned and of what was not, no values
  const std::int64_t at_the_end = (2 * qkv + own_keys + copies) * accumulator;
  const bool on_gpu = config.parallel.device == DeviceChoice::Cuda;
  const std::int64_t kernels =
      on_gpu ? std::max(attention_workspace(s, tokens), memory_kernels_workspace(s, tokens)) : 0;
  return stored * storage + summed * accumulator + vectors + std::max(at_the_end, kernels);
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
  const bool has_memory = s.segments.segment_tokens > 0;
  const std::int64_t with_memory = has_memory ? memory_layer_workspace(config, s, tokens) : 0;
  const std::int64_t behind_attention = heads + qkv * storage + stream + norm;  // d_heads_out, d_qkv, d_normed
  const std::int64_t step = throughout + std::max({feed_forward, attention, with_memory, behind_attention});

  const int ring = config.parallel.ring;
  const std::int64_t sum_over_ranks = ring > 1 ? static_cast<std::int64_t>(slab_bytes(ring)) : 0;
  // of the trainer and of the evaluator: tokens, targets, losses
  const std::int64_t batches =
      2 * tokens * static_cast<std::int64_t>(2 * sizeof(std::int32_t) + size_of(accumulator_of(compute)));
  return std::max(step, sum_over_ranks) + batches + (on_gpu ? kGpuWorkspaceBytes : 0);
}

/// What a layer with a memory keeps for its backward pass: M and z before each of the rank's runs and, for delta rules, the decays of
/// all runs of the ring.
std::int64_t kept_states(const RunConfig& config, const TransformerShape& s, std::int64_t runs_of_rank) {
  const std::int64_t matrix = s.kv_heads * s.head_dim * s.head_dim, vector = s.kv_heads * s.head_dim;
  const auto accumulator =
      static_cast<std::int64_t>(size_of(accumulator_of(dtype_of_compute(config.precision.compute))));
  const std::int64_t states = runs_of_rank * (matrix + vector) * std::int64_t{sizeof(double)};
  if (s.segments.memory_rule == MemoryRule::Linear) return states;
  return states + runs_of_rank * config.parallel.ring * matrix * accumulator;
}

MemoryEstimate estimate_memory(const RunConfig& config, const TransformerShape& shape) {
  const DType compute = dtype_of_compute(config.precision.compute);
  const auto storage = static_cast<std::int64_t>(size_of(compute));
  const auto accumulator = static_cast<std::int64_t>(size_of(accumulator_of(compute)));
  const SequenceLayout layout(config.data.sequence_length, config.parallel.ring, *config.parallel.layout);
  const std::int64_t tokens = layout.max_tokens();
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
  for (std::int64_t layer = 0; layer < shape.layers; ++layer) {
    if (shape.has_memory(layer))
      of(MemoryUse::KeptActivations) += kept_states(config, shape, layout.runs(0).num_runs());
  }
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

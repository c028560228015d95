// SPDX-License-Identifier: Apache-2.0
#include "plan/cost_estimate.hpp"

#include <algorithm>
#include <numeric>

#include "comm/reduction_parts.hpp"
#include "core/sequence_spans.hpp"
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

SequenceSpans spans_of(const RunConfig& config) {
  return {config.data.sequence_length, config.memory.span_tokens, config.parallel.ring, *config.parallel.layout};
}

/// Tokens of other ranks and spans whose keys a rank needs beside its own in a layer with a memory: those in sight of its first
/// query.
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

/// Of a layer with a memory in its backward pass.
struct MemoryLayerWorkspace {
  std::int64_t throughout;  // q and k with and without turning, v; what was read
  std::int64_t attention;   // beside that, while attention goes back
};

MemoryLayerWorkspace memory_layer_workspace(const RunConfig& config, const TransformerShape& s, std::int64_t tokens) {
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
  // two maps of states for each own run, in the scan over the ranks
  const std::int64_t matrices = s.segments.memory_rule == MemoryRule::Linear ? 2 : 4;
  const std::int64_t scan = spans_of(config).layout(0).runs(0).num_runs() * matrices * s.kv_heads * s.head_dim *
                            s.head_dim * std::int64_t{sizeof(double)};
  // d_heads_out, d_qkv, d_local
  const std::int64_t stored = queries + qkv + queries;
  // the gradients of what was read, of q and k with and without turning, of v; delta
  const std::int64_t summed = queries + 2 * queries + 3 * keys + normaliser;
  // d_qkv of what was not turned and, unless it can be d_qkv itself, of what was; no values
  const std::int64_t at_the_end = ((storage == accumulator ? 1 : 2) * qkv + own_keys + copies) * accumulator;
  const bool on_gpu = config.parallel.device == DeviceChoice::Cuda;
  const std::int64_t kernels =
      on_gpu ? std::max(attention_workspace(s, tokens), memory_kernels_workspace(s, tokens)) : 0;
  return {(2 * queries + 3 * keys + copies) * storage + (queries + normaliser) * accumulator,
          stored * storage + summed * accumulator + vectors + scan + std::max(at_the_end, kernels)};
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
  const MemoryLayerWorkspace with_memory =
      s.segments.segment_tokens > 0 ? memory_layer_workspace(config, s, tokens) : MemoryLayerWorkspace{};
  const std::int64_t throughout = 4 * stream + qkv * storage + heads + with_memory.throughout;
  // normed, gate_up, a; d_a, d_gate_up, d_normed, of a chunk
  const std::int64_t feed_forward =
      std::min(s.ffn_chunk_tokens, tokens) * (2 * s.d_model + 6 * s.d_ff) * storage + norm;
  // d_heads_out, d_qkv; q, k, v, d_q, d_k, d_v, delta
  const std::int64_t attention = heads + 2 * qkv * storage + qkv * accumulator + tokens * s.heads * accumulator +
                                 (on_gpu ? attention_workspace(s, tokens) : 0);
  const std::int64_t behind_attention = heads + qkv * storage + stream + norm;  // d_heads_out, d_qkv, d_normed
  const std::int64_t step = throughout + std::max({feed_forward, attention, with_memory.attention, behind_attention});

  const int ring = config.parallel.ring;
  const std::int64_t sum_over_ranks = ring > 1 ? static_cast<std::int64_t>(slab_bytes(ring)) : 0;
  // of the trainer and of the evaluator: tokens, targets, losses
  const std::int64_t batches =
      2 * tokens * static_cast<std::int64_t>(2 * sizeof(std::int32_t) + size_of(accumulator_of(compute)));
  return std::max(step, sum_over_ranks) + batches + (on_gpu ? kGpuWorkspaceBytes : 0);
}

/// What a layer with a memory keeps for its backward pass: M and z before each of the rank's runs and, for delta rules, the decays of
/// these runs.
std::int64_t kept_states(const RunConfig& config, const TransformerShape& s, std::int64_t runs_of_rank) {
  const std::int64_t matrix = s.kv_heads * s.head_dim * s.head_dim, vector = s.kv_heads * s.head_dim;
  const auto accumulator =
      static_cast<std::int64_t>(size_of(accumulator_of(dtype_of_compute(config.precision.compute))));
  const std::int64_t states = runs_of_rank * (matrix + vector) * std::int64_t{sizeof(double)};
  if (s.segments.memory_rule == MemoryRule::Linear) return states;
  return states + runs_of_rank * matrix * accumulator;
}

/// Of one layer: the memory, and what is in sight at the end of a span.
std::int64_t state_bytes(const RunConfig& config, const TransformerShape& s, std::int64_t storage) {
  const std::int64_t fp64 = size_of(DType::Fp64);
  const std::int64_t sight =
      std::min(config.data.sequence_length / s.segments.segment_tokens, s.segments.window_segments) + 1;
  return s.kv_heads * s.head_dim * ((s.head_dim + 1) * fp64 + 3 * sight * s.segments.segment_tokens * storage);
}

MemoryEstimate estimate_memory(const RunConfig& config, const TransformerShape& shape) {
  const DType compute = dtype_of_compute(config.precision.compute);
  const auto storage = static_cast<std::int64_t>(size_of(compute));
  const auto accumulator = static_cast<std::int64_t>(size_of(accumulator_of(compute)));
  const std::int64_t tokens = spans_of(config).max_tokens();
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
      of(MemoryUse::KeptActivations) += kept_states(config, shape, spans_of(config).layout(0).runs(0).num_runs());
  }
  if (const std::int64_t between = spans_of(config).count() - 1; between > 0) {
    const std::int64_t state = shape.layers * state_bytes(config, shape, storage);
    of(MemoryUse::Carry) = std::min(between * state, config.memory.span_states_mib << 20) +
                           shape.layers * state_bytes(config, shape, accumulator) + state;
  }
  // Two remote shares; in backward also two travelling sums, a contribution and what comes home.
  if (config.parallel.ring > 1 && shape.has_exact_layers())
    of(MemoryUse::KeyValueSlots) = key_values * (2 * storage + 4 * accumulator);
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

double segment_pairs(std::int64_t sequence_length, std::int64_t segment_tokens, std::int64_t window_segments) {
  const std::int64_t whole = sequence_length / segment_tokens;
  const auto full = static_cast<double>(segment_tokens), ragged = static_cast<double>(sequence_length % segment_tokens);
  const std::int64_t growing = std::min(whole, window_segments);  // segments that see less than a window before them
  const double before = static_cast<double>(growing) * static_cast<double>(growing - 1) / 2.0 +
                        static_cast<double>(whole - growing) * static_cast<double>(window_segments);
  return static_cast<double>(whole) * full * (full + 1) / 2 + before * full * full + ragged * (ragged + 1) / 2 +
         static_cast<double>(growing) * full * ragged;
}

namespace {

// In the mean over the layers, for one document.
double mean_pairs(const RunConfig& config, const TransformerShape& s) {
  std::int64_t with_memory = 0;
  for (std::int64_t layer = 0; layer < s.layers; ++layer) with_memory += s.has_memory(layer) ? 1 : 0;
  const std::int64_t tokens = config.data.sequence_length;
  const double exact = causal_pairs(tokens, config.model.window);
  if (with_memory == 0) return exact;
  const double segments = segment_pairs(tokens, s.segments.segment_tokens, s.segments.window_segments);
  const double share = static_cast<double>(with_memory) / static_cast<double>(s.layers);
  return share * segments + (1 - share) * exact;
}

}  // namespace

CostEstimate estimate_cost(const RunConfig& config) {
  ensure(config.parallel.ring > 0 && config.parallel.layout.has_value(), "the configuration is resolved");
  const TransformerShape shape = shape_of(config);
  const auto tokens = static_cast<double>(config.data.sequence_length);
  const double pairs = mean_pairs(config, shape);
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

// SPDX-License-Identifier: Apache-2.0
#include "apps/bench/attention_shard.hpp"

#include <algorithm>
#include <cmath>

#include "apps/bench/tensors.hpp"

namespace rondo::bench {

Result attention_result(AttentionPass pass, const AttentionShape& shape, const Peak& peak, const RunOptions& options) {
  const bool is_forward = pass == AttentionPass::Forward;
  const auto T = static_cast<double>(shape.tokens);
  const double forward = 4 * T * T * static_cast<double>(shape.heads * shape.head_dim) / (shape.causal ? 2 : 1);
  return {
      .parameters = {{"dtype", name_of(peak.dtype)},
                     {"head_dim", shape.head_dim},
                     {"tokens", shape.tokens},
                     {"heads", shape.heads},
                     {"kv_heads", shape.kv_heads},
                     {"causal", shape.causal},
                     {"attention_kernel", options.attention_kernel},
                     {"pass", is_forward ? "forward" : "backward"}},
      .formula = std::string("forward 4 T U N D") + (shape.causal ? " / 2 (causal)" : "") + ", backward 2.5 times that",
      .flop = is_forward ? forward : 2.5 * forward,
      .timing = {},
      .peak_flops_per_s = peak.flops_per_s};
}

void add_head_options(CLI::App& command, HeadOptions& options) {
  command.add_option("--heads", options.heads, "query heads")->check(CLI::Range(1, 1024));
  command.add_option("--kv-heads", options.kv_heads, "key/value heads, as many as heads if not given")
      ->check(CLI::Range(1, 1024));
  command.add_flag("--full", options.full, "without a causal mask");
}

AttentionShape checked_shape(const HeadOptions& options, std::int64_t tokens, std::int64_t head_dim) {
  const std::int64_t kv_heads = options.kv_heads == 0 ? options.heads : options.kv_heads;
  if (options.heads % kv_heads != 0) {
    throw ConfigError("heads are not a multiple of key/value heads", "--kv-heads", "give a divisor of --heads");
  }
  return {
      .tokens = tokens, .heads = options.heads, .kv_heads = kv_heads, .head_dim = head_dim, .causal = !options.full};
}

AttentionSequence::AttentionSequence(Execution& execution, DType dtype, const AttentionShape& shape,
                                     const SequenceLayout& layout) {
  const DType sum = accumulator_of(dtype);
  const auto make = [&](DType type, const Shape& extents) {
    return Buffer(execution.device, type, extents, MemoryUse::KeptActivations);
  };
  q = make(dtype, shape.queries()), k = make(dtype, shape.keys()), v = make(dtype, shape.keys());
  d_out = make(dtype, shape.queries()), out = make(sum, shape.queries());
  d_q = make(sum, shape.queries()), d_k = make(sum, shape.keys()), d_v = make(sum, shape.keys());
  lse_ = make(sum, {shape.tokens * shape.heads}), delta_ = make(sum, {shape.tokens * shape.heads});
  std::int64_t first = 0;
  for (int rank = 0; rank < layout.ring(); ++rank) {
    const TokenRuns runs = layout.runs(rank);
    const std::int64_t T = runs.num_tokens();
    const auto rows = [&](const Buffer& of) { return of.view().rows(first, T); };
    const auto of_heads = [&](const Buffer& of) {
      return of.view().rows(first * shape.heads, T * shape.heads).reshaped({shape.heads, T});
    };
    shards_.push_back({.q = rows(q),
                       .d_out = rows(d_out),
                       .out = rows(out),
                       .d_q = rows(d_q),
                       .k = rows(k),
                       .v = rows(v),
                       .d_k = rows(d_k),
                       .d_v = rows(d_v),
                       .lse = of_heads(lse_),
                       .delta = of_heads(delta_),
                       .runs = runs});
    first += T;
  }
}

void AttentionSequence::fill(Execution& execution) const {
  std::uint64_t seed = 1;
  for (const Buffer* input : {&q, &k, &v, &d_out}) fill_random(execution, input->view(), seed++);
}

std::vector<double> AttentionSequence::in_order(const std::vector<double>& values) const {
  std::vector<double> ordered(values.size());
  const auto columns = static_cast<std::int64_t>(values.size()) / q.view().shape[0];
  auto from = values.cbegin();
  for (const AttentionShard& shard : shards_) {
    for (std::int64_t i = 0; i < shard.runs.num_tokens(); ++i, from += columns) {
      std::copy_n(from, columns, ordered.begin() + shard.runs.global_of(i) * columns);
    }
  }
  return ordered;
}

AttentionBlocks::AttentionBlocks(Execution& execution, const AttentionMaskView& mask, std::int64_t head_dim)
    : execution_(execution), mask_(mask), scale_(1 / std::sqrt(static_cast<double>(head_dim))) {}

void AttentionBlocks::empty_carry(const AttentionShard& queries) const {
  RingAttention::empty_carry(execution_, {queries.out, queries.lse});
}

void AttentionBlocks::zero_gradients(const AttentionShard& shard) const {
  for (const TensorView& sum : {shard.d_q, shard.d_k, shard.d_v}) {
    execution_.device.fill_zero(execution_.compute, sum.data, sum.size_bytes());
  }
}

void AttentionBlocks::forward(const AttentionShard& queries, const AttentionShard& keys) const {
  execution_.backend.block_attention_forward(execution_.compute, {.q = queries.q,
                                                                  .k = keys.k,
                                                                  .v = keys.v,
                                                                  .query_runs = queries.runs,
                                                                  .key_runs = keys.runs,
                                                                  .mask = mask_,
                                                                  .scale = scale_,
                                                                  .carry = {.out = queries.out, .lse = queries.lse},
                                                                  .scratch = execution_.scratch});
}

void AttentionBlocks::delta(const AttentionShard& queries) const {
  execution_.backend.attention_delta(execution_.compute,
                                     {.out = queries.out, .d_out = queries.d_out, .delta = queries.delta});
}

void AttentionBlocks::backward(const AttentionShard& queries, const AttentionShard& keys,
                               const KeyValue& d_keys) const {
  execution_.backend.block_attention_backward(execution_.compute, {.q = queries.q,
                                                                   .k = keys.k,
                                                                   .v = keys.v,
                                                                   .d_out = queries.d_out,
                                                                   .lse = queries.lse,
                                                                   .delta = queries.delta,
                                                                   .query_runs = queries.runs,
                                                                   .key_runs = keys.runs,
                                                                   .mask = mask_,
                                                                   .scale = scale_,
                                                                   .d_q = queries.d_q,
                                                                   .d_k = d_keys.k,
                                                                   .d_v = d_keys.v,
                                                                   .scratch = execution_.scratch,
                                                                   .out = queries.out});
}

}  // namespace rondo::bench

// SPDX-License-Identifier: Apache-2.0
// Attention tensors of a sequence, whole or as the shards of a ring's ranks, and the attention operator on blocks of them.
#pragma once

#include <string>
#include <vector>

#include "apps/bench/harness.hpp"
#include "core/attention_mask.hpp"
#include "core/sequence_layout.hpp"
#include "model/ring_attention.hpp"

namespace rondo::bench {

struct AttentionShape {
  std::int64_t tokens, heads, kv_heads, head_dim;
  bool causal;

  Shape queries() const { return {tokens, heads, head_dim}; }
  Shape keys() const { return {tokens, kv_heads, head_dim}; }
};

enum class AttentionPass { Forward, Backward };

/// The result of a pass before it is timed: parameters, formula and model FLOP.
Result attention_result(AttentionPass pass, const AttentionShape& shape, const Peak& peak, const RunOptions& options);

/// --heads, --kv-heads and --full.
struct HeadOptions {
  std::int64_t heads = 4, kv_heads = 0;  // 0: as many as heads
  bool full = false;
};
void add_head_options(CLI::App& command, HeadOptions& options);
/// Throws ConfigError unless the key/value heads divide the heads.
AttentionShape checked_shape(const HeadOptions& options, std::int64_t tokens, std::int64_t head_dim);

/// One rank's shard of a sequence: views of an AttentionSequence.
struct AttentionShard {
  TensorView q, d_out, out, d_q;  // [T, N, D]
  TensorView k, v, d_k, d_v;      // [T, G, D]
  TensorView lse, delta;          // [N, T]
  TokenRuns runs;
};

/// Owns the tensors. The shards are consecutive in memory, each in its own token order.
class AttentionSequence {
 public:
  AttentionSequence(Execution& execution, DType dtype, const AttentionShape& shape, const SequenceLayout& layout);

  /// Fills the inputs with random numbers, which depend only on the seed and the shape.
  void fill(Execution& execution) const;
  const std::vector<AttentionShard>& shards() const { return shards_; }
  /// Reorders the values of a tensor [T, ...] from memory order to the order of the sequence.
  std::vector<double> in_order(const std::vector<double>& values) const;

  Buffer q, k, v, d_out, out, d_q, d_k, d_v;

 private:
  Buffer lse_, delta_;  // [N, T] of each shard in turn
  std::vector<AttentionShard> shards_;
};

/// Attention between shards, with the running sums of the ring.
class AttentionBlocks {
 public:
  AttentionBlocks(Execution& execution, const AttentionMaskView& mask, std::int64_t head_dim);

  void empty_carry(const AttentionShard& queries) const;
  void zero_gradients(const AttentionShard& shard) const;
  void forward(const AttentionShard& queries, const AttentionShard& keys) const;
  /// Computes what backward needs for a shard's queries beside the final carry.
  void delta(const AttentionShard& queries) const;
  /// Adds to d_q of the queries, and the gradients of the keys and values to d_keys.
  void backward(const AttentionShard& queries, const AttentionShard& keys, const KeyValue& d_keys) const;

 private:
  Execution& execution_;
  const AttentionMaskView& mask_;
  double scale_;
};

}  // namespace rondo::bench

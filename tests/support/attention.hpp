// SPDX-License-Identifier: Apache-2.0
// Attention problems for tests, computed block by block in any order through a backend, as a ring would.
#pragma once

#include <algorithm>
#include <cstring>
#include <limits>
#include <vector>

#include "core/attention_mask.hpp"
#include "kernels/backend.hpp"
#include "tests/support/tensor.hpp"
#include "tests/support/tolerance.hpp"

namespace rondo::test {

struct AttentionInput {
  Tensor q;      // [S, N, D]
  Tensor k;      // [S, G, D]
  Tensor v;      // [S, G, D]
  Tensor d_out;  // [S, N, D]

  static AttentionInput random(DType dtype, std::int64_t tokens, std::int64_t heads, std::int64_t kv_heads,
                               std::int64_t dim, std::uint64_t seed) {
    return {.q = Tensor::random(dtype, {tokens, heads, dim}, 4 * seed),
            .k = Tensor::random(dtype, {tokens, kv_heads, dim}, 4 * seed + 1),
            .v = Tensor::random(dtype, {tokens, kv_heads, dim}, 4 * seed + 2),
            .d_out = Tensor::random(dtype, {tokens, heads, dim}, 4 * seed + 3)};
  }
  AttentionInput converted(DType dtype) const {
    return {q.converted(dtype), k.converted(dtype), v.converted(dtype), d_out.converted(dtype)};
  }
  std::int64_t tokens() const { return q.shape()[0]; }
};

/// Results in the accumulator type and in global token order.
struct AttentionResult {
  Tensor out;  // [S, N, D]
  Tensor lse;  // [N, S]
  Tensor d_q, d_k, d_v;
};

/// The tolerance rule for the output, its logsumexp and all gradients.
inline void expect_within_tolerance(const AttentionResult& result, const AttentionResult& plain,
                                    const AttentionResult& exact) {
  EXPECT_TRUE(within_tolerance(result.out, plain.out, exact.out)) << "out";
  EXPECT_TRUE(within_tolerance(result.lse, plain.lse, exact.lse)) << "lse";
  EXPECT_TRUE(within_tolerance(result.d_q, plain.d_q, exact.d_q)) << "d_q";
  EXPECT_TRUE(within_tolerance(result.d_k, plain.d_k, exact.d_k)) << "d_k";
  EXPECT_TRUE(within_tolerance(result.d_v, plain.d_v, exact.d_v)) << "d_v";
}

/// The rows of `whole` at the positions of the runs.
inline Tensor gather(const Tensor& whole, const TokenRuns& runs) {
  Shape shape = whole.shape();
  shape.set(0, runs.num_tokens());
  Tensor part(whole.dtype(), shape);
  const TensorView from = whole, to = part;
  for (std::int64_t t = 0; t < runs.num_tokens(); ++t) {
    const TensorView row = from.rows(runs.global_of(t), 1);
    std::memcpy(to.rows(t, 1).data, row.data, row.size_bytes());
  }
  return part;
}

/// Adds the rows of `part` to those of `whole` at the positions of the runs.
inline void scatter_add(const Tensor& part, const TokenRuns& runs, Tensor& whole) {
  const std::int64_t row = whole.shape().row_count();
  for (std::int64_t t = 0; t < runs.num_tokens(); ++t) {
    const std::int64_t to = runs.global_of(t) * row;
    for (std::int64_t i = 0; i < row; ++i) whole.set(to + i, whole[to + i] + part[t * row + i]);
  }
}

/// Forward and backward; every shard of queries attends to the shards of keys in the given order.
/// @tparam Attention a Backend, or a class with its three attention functions that takes host tensors
template <typename Attention>
AttentionResult attention_by_blocks(Attention& backend, const AttentionInput& input, const AttentionMask& mask,
                                    double scale, const std::vector<TokenRuns>& query_shards,
                                    const std::vector<TokenRuns>& key_shards) {
  Host host;
  const DType accumulator = accumulator_of(input.q.dtype());
  const std::int64_t tokens = input.tokens(), heads = input.q.shape()[1];
  AttentionResult whole{.out = Tensor(accumulator, input.q.shape()),
                        .lse = Tensor(accumulator, {heads, tokens}),
                        .d_q = Tensor(accumulator, input.q.shape()),
                        .d_k = Tensor(accumulator, input.k.shape()),
                        .d_v = Tensor(accumulator, input.v.shape())};
  for (const TokenRuns& queries : query_shards) {
    const Tensor q = gather(input.q, queries), d_out = gather(input.d_out, queries);
    const std::int64_t shard = queries.num_tokens();
    Tensor out(accumulator, q.shape()), d_q(accumulator, q.shape()), delta(accumulator, {heads, shard});
    Tensor lse = Tensor::filled(accumulator, {heads, shard}, -std::numeric_limits<double>::infinity());
    for (const TokenRuns& keys : key_shards) {
      const Tensor k = gather(input.k, keys), v = gather(input.v, keys);
      backend.block_attention_forward(*host.stream, {.q = q,
                                                     .k = k,
                                                     .v = v,
                                                     .query_runs = queries,
                                                     .key_runs = keys,
                                                     .mask = mask.view(),
                                                     .scale = scale,
                                                     .carry = {.out = out, .lse = lse},
                                                     .scratch = host.scratch});
    }
    backend.attention_delta(*host.stream, {.out = out, .d_out = d_out, .delta = delta});
    for (const TokenRuns& keys : key_shards) {
      const Tensor k = gather(input.k, keys), v = gather(input.v, keys);
      Tensor d_k(accumulator, k.shape()), d_v(accumulator, v.shape());
      backend.block_attention_backward(*host.stream, {.q = q,
                                                      .k = k,
                                                      .v = v,
                                                      .d_out = d_out,
                                                      .lse = lse,
                                                      .delta = delta,
                                                      .query_runs = queries,
                                                      .key_runs = keys,
                                                      .mask = mask.view(),
                                                      .scale = scale,
                                                      .d_q = d_q,
                                                      .d_k = d_k,
                                                      .d_v = d_v,
                                                      .scratch = host.scratch,
                                                      .out = out});
      scatter_add(d_k, keys, whole.d_k);
      scatter_add(d_v, keys, whole.d_v);
    }
    scatter_add(out, queries, whole.out);
    scatter_add(d_q, queries, whole.d_q);
    for (std::int64_t n = 0; n < heads; ++n) {
      for (std::int64_t t = 0; t < shard; ++t) whole.lse.set(n * tokens + queries.global_of(t), lse[n * shard + t]);
    }
  }
  return whole;
}

/// The whole sequence as one block.
template <typename Attention>
AttentionResult attention_in_one_block(Attention& backend, const AttentionInput& input, const AttentionMask& mask,
                                       double scale) {
  const std::vector<TokenRuns> all{TokenRuns::contiguous(0, input.tokens())};
  return attention_by_blocks(backend, input, mask, scale, all, all);
}

}  // namespace rondo::test

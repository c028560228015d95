// SPDX-License-Identifier: Apache-2.0
#include "kernels/rope.hpp"

namespace rondo {

namespace {

void check_split(const TensorView& q, const TensorView& k, const TensorView& v, const TensorView& qkv,
                 const TokenRuns& positions, const std::vector<double>& inverse_frequencies) {
  ensure(q.shape.rank() == 3 && k.shape.rank() == 3, "q is [T, N, D] and k is [T, G, D]");
  const std::int64_t tokens = q.shape[0], heads = q.shape[1], kv_heads = k.shape[1], head_dim = q.shape[2];
  expect_shape(q, {tokens, heads, head_dim}, "q [T, N, D]");
  expect_shape(k, {tokens, kv_heads, head_dim}, "k [T, G, D]");
  expect_shape(v, {tokens, kv_heads, head_dim}, "v [T, G, D]");
  expect_shape(qkv, {tokens, (heads + 2 * kv_heads) * head_dim}, "qkv [T, (N+2G)*D]");
  expect_dtype(k, q.dtype, "k");
  expect_dtype(v, q.dtype, "v");
  ensure(positions.num_tokens() == tokens, "positions cover the tokens");
  ensure(inverse_frequencies.empty() || 2 * static_cast<std::int64_t>(inverse_frequencies.size()) == head_dim,
         "there is one frequency for each pair (i, i + D/2)");
}

}  // namespace

void check(const QkvSplitForwardArgs& args) {
  check_split(args.q, args.k, args.v, args.qkv, args.positions, args.inverse_frequencies);
  expect_dtype(args.q, args.qkv.dtype, "q");
}

void check(const QkvSplitBackwardArgs& args) {
  check_split(args.d_q, args.d_k, args.d_v, args.d_qkv, args.positions, args.inverse_frequencies);
  expect_dtype(args.d_q, accumulator_of(args.d_qkv.dtype), "d_q");
}

}  // namespace rondo

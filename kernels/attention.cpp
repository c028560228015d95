// SPDX-License-Identifier: Apache-2.0
#include "kernels/attention.hpp"

namespace rondo {

namespace {

/// The checks that forward and backward have in common.
AttentionSizes check_block(const TensorView& q, const TensorView& k, const TensorView& v, const TokenRuns& query_runs,
                           const TokenRuns& key_runs) {
  ensure(q.shape.rank() == 3 && k.shape.rank() == 3, "q is [T, N, D] and k is [U, G, D]");
  const AttentionSizes sizes{.num_queries = q.shape[0],
                             .num_keys = k.shape[0],
                             .heads = q.shape[1],
                             .kv_heads = k.shape[1],
                             .head_dim = q.shape[2]};
  ensure(sizes.kv_heads > 0 && sizes.heads % sizes.kv_heads == 0, "query heads are a multiple of key heads");
  expect_shape(q, {sizes.num_queries, sizes.heads, sizes.head_dim}, "q [T, N, D]");
  expect_shape(k, {sizes.num_keys, sizes.kv_heads, sizes.head_dim}, "k [U, G, D]");
  expect_shape(v, {sizes.num_keys, sizes.kv_heads, sizes.head_dim}, "v [U, G, D]");
  expect_dtype(k, q.dtype, "k");
  expect_dtype(v, q.dtype, "v");
  ensure(query_runs.num_tokens() == sizes.num_queries, "query runs cover the queries");
  ensure(key_runs.num_tokens() == sizes.num_keys, "key runs cover the keys");
  return sizes;
}

}  // namespace

AttentionSizes check(const BlockAttentionForwardArgs& args) {
  const AttentionSizes sizes = check_block(args.q, args.k, args.v, args.query_runs, args.key_runs);
  const DType accumulator = accumulator_of(args.q.dtype);
  expect_shape(args.carry.out, {sizes.num_queries, sizes.heads, sizes.head_dim}, "carry.out [T, N, D]");
  expect_shape(args.carry.lse, {sizes.heads, sizes.num_queries}, "carry.lse [N, T]");
  expect_dtype(args.carry.out, accumulator, "carry.out");
  expect_dtype(args.carry.lse, accumulator, "carry.lse");
  return sizes;
}

AttentionSizes check(const BlockAttentionBackwardArgs& args) {
  const AttentionSizes sizes = check_block(args.q, args.k, args.v, args.query_runs, args.key_runs);
  const DType accumulator = accumulator_of(args.q.dtype);
  const Shape query_shape{sizes.num_queries, sizes.heads, sizes.head_dim};
  const Shape key_shape{sizes.num_keys, sizes.kv_heads, sizes.head_dim};
  expect_shape(args.d_out, query_shape, "d_out [T, N, D]");
  expect_dtype(args.d_out, args.q.dtype, "d_out");
  expect_shape(args.lse, {sizes.heads, sizes.num_queries}, "lse [N, T]");
  expect_dtype(args.lse, accumulator, "lse");
  expect_shape(args.delta, {sizes.heads, sizes.num_queries}, "delta [N, T]");
  expect_dtype(args.delta, accumulator, "delta");
  expect_shape(args.d_q, query_shape, "d_q [T, N, D]");
  expect_dtype(args.d_q, accumulator, "d_q");
  expect_shape(args.d_k, key_shape, "d_k [U, G, D]");
  expect_dtype(args.d_k, accumulator, "d_k");
  expect_shape(args.d_v, key_shape, "d_v [U, G, D]");
  expect_dtype(args.d_v, accumulator, "d_v");
  if (args.out) {
    expect_shape(args.out, query_shape, "out [T, N, D]");
    expect_dtype(args.out, accumulator, "out");
  }
  return sizes;
}

void check(const AttentionDeltaArgs& args) {
  const Shape& shape = args.out.shape;
  ensure(shape.rank() == 3, "out is [T, N, D]");
  expect_shape(args.d_out, shape, "d_out [T, N, D]");
  expect_dtype(args.out, accumulator_of(args.d_out.dtype), "out");
  expect_shape(args.delta, {shape[1], shape[0]}, "delta [N, T]");
  expect_dtype(args.delta, args.out.dtype, "delta");
}

}  // namespace rondo

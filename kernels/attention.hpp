// SPDX-License-Identifier: Apache-2.0
// Attention of a block of queries to a block of keys and values, which updates a softmax carry, so that blocks can be given in
// any order (Ring Attention, arXiv 2310.01889; online softmax, arXiv 1805.02867).
#pragma once

#include "core/arena.hpp"
#include "core/attention_mask.hpp"
#include "core/tensor_view.hpp"
#include "core/token_runs.hpp"

namespace rondo {

/// The only state between blocks: normalised output and natural log-sum-exp of the scaled scores of all keys so far.
/// It starts as (0, -inf), which remains for a query that sees no key.
struct SoftmaxCarry {
  TensorView out;  // [T, N, D] accumulator type
  TensorView lse;  // [N, T] accumulator type
};

/// carry <- carry (+) softmax(scale q k^T) v over the keys that each query sees under the mask.
/// T query tokens and U key tokens; query head n uses key head n / (N/G).
struct BlockAttentionForwardArgs {
  TensorView q;  // [T, N, D]
  TensorView k;  // [U, G, D]
  TensorView v;  // [U, G, D]
  const TokenRuns& query_runs;
  const TokenRuns& key_runs;
  const AttentionMaskView& mask;
  double scale;  // 1/sqrt(D) in the model
  SoftmaxCarry carry;
  Arena& scratch;
};

/// d_q += ..., d_k += ..., d_v += ...; probabilities are recomputed from the final log-sum-exp, so each block is
/// independent of the others: P = exp(scale q k^T - lse), dS = P * (d_out v^T - delta).
struct BlockAttentionBackwardArgs {
  TensorView q;      // [T, N, D]
  TensorView k;      // [U, G, D]
  TensorView v;      // [U, G, D]
  TensorView d_out;  // [T, N, D]
  TensorView lse;    // [N, T] accumulator type, final
  TensorView delta;  // [N, T] accumulator type, from attention_delta
  const TokenRuns& query_runs;
  const TokenRuns& key_runs;
  const AttentionMaskView& mask;
  double scale;
  TensorView d_q;  // [T, N, D] accumulator type
  TensorView d_k;  // [U, G, D] accumulator type
  TensorView d_v;  // [U, G, D] accumulator type
  Arena& scratch;
  TensorView out = {};  // [T, N, D] accumulator type, final, for libraries that compute delta themselves; may be empty
};

/// delta[n, t] = sum over d of out[t, n, d] * d_out[t, n, d], from the unrounded output.
struct AttentionDeltaArgs {
  TensorView out;    // [T, N, D] accumulator type
  TensorView d_out;  // [T, N, D]
  TensorView delta;  // [N, T] accumulator type
};

struct AttentionSizes {
  std::int64_t num_queries, num_keys, heads, kv_heads, head_dim;
};

AttentionSizes check(const BlockAttentionForwardArgs& args);
AttentionSizes check(const BlockAttentionBackwardArgs& args);
void check(const AttentionDeltaArgs& args);

}  // namespace rondo

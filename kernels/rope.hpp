// SPDX-License-Identifier: Apache-2.0
// Splits packed queries, keys and values and applies rotary position embeddings (RoPE, Su et al., arXiv 2104.09864) to queries
// and keys, in the half-split convention of Hugging Face: pair (i, i + D/2) rotates by position * inverse_frequencies[i].
#pragma once

#include <vector>

#include "core/tensor_view.hpp"
#include "core/token_runs.hpp"

namespace rondo {

/// Angles are products in fp64, reduced before sine and cosine: fp32 angles are wrong by 2.5e-2 at 1M tokens.
/// `inverse_frequencies` has D/2 entries in radians per token (host memory); empty: nothing is rotated. With G = 0, qkv has
/// only heads to rotate.
struct QkvSplitForwardArgs {
  TensorView qkv;  // [T, (N+2G)*D]: N query heads, then G key heads, then G value heads
  TensorView q;    // [T, N, D] rotated
  TensorView k;    // [T, G, D] rotated
  TensorView v;    // [T, G, D]
  const TokenRuns& positions;
  const std::vector<double>& inverse_frequencies;
};

/// The transposed map: d_qkv = gradient (overwritten), gradients rotated back.
struct QkvSplitBackwardArgs {
  TensorView d_q;    // [T, N, D] accumulator type
  TensorView d_k;    // [T, G, D] accumulator type
  TensorView d_v;    // [T, G, D] accumulator type
  TensorView d_qkv;  // [T, (N+2G)*D] storage type
  const TokenRuns& positions;
  const std::vector<double>& inverse_frequencies;
};

void check(const QkvSplitForwardArgs& args);
void check(const QkvSplitBackwardArgs& args);

}  // namespace rondo

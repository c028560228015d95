// SPDX-License-Identifier: Apache-2.0
// Attention on tensor cores, fused: scores and probabilities never leave the registers. For bf16, a few head dimensions, every
// mask, layout and grouping of heads, on GPUs from sm_80 on. The plain kernels take everything else.
#pragma once

#include <algorithm>
#include <array>

#include "kernels/attention.hpp"

namespace rondo::cuda {

/// Head dimensions that the fused kernels are compiled for.
inline constexpr std::array kFusedHeadDims{32, 64, 96, 128};
constexpr bool has_fused_head_dim(std::int64_t head_dim) {
  return std::any_of(kFusedHeadDims.begin(), kFusedHeadDims.end(), [&](int dim) { return dim == head_dim; });
}

/// Can the fused kernels compute this block? Rows must be aligned to 16 bytes, as memory of an arena or a buffer is.
bool fused_attention_takes(const BlockAttentionForwardArgs& args);
bool fused_attention_takes(const BlockAttentionBackwardArgs& args);

/// As the operations of the catalogue, with the same bits on every call. @pre fused_attention_takes(args)
void fused_attention_forward(Stream& stream, const BlockAttentionForwardArgs& args);
void fused_attention_backward(Stream& stream, const BlockAttentionBackwardArgs& args);

}  // namespace rondo::cuda

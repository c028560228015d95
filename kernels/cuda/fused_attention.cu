// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernels/cuda/fused_attention.cuh"

namespace rondo::cuda {

namespace {

bool is_aligned(const TensorView& view, std::size_t bytes) {
  return reinterpret_cast<std::uintptr_t>(view.data) % bytes == 0;
}

/// The conditions that forward and backward share. The running softmax takes the maximum before it scales: scale > 0.
bool takes(const TensorView& q, const TensorView& k, const TensorView& v, const TokenRuns& key_runs, double scale) {
  const bool strides_fit =
      std::all_of(key_runs.begin(), key_runs.end(), [](const TokenRun& run) { return run.stride <= kMaxStride; });
  constexpr std::int64_t most_row_elements = std::int64_t{1} << 30;  // counted in 32 bits, too
  const bool counts_fit =
      q.shape[0] <= kMaxTokens && k.shape[0] <= kMaxTokens && q.shape.row_count() <= most_row_elements;
  return q.dtype == DType::Bf16 && counts_fit && has_fused_head_dim(q.shape[2]) && scale > 0 && strides_fit &&
         is_aligned(q, 16) && is_aligned(k, 16) && is_aligned(v, 16);
}

}  // namespace

bool fused_attention_takes(const BlockAttentionForwardArgs& args) {
  return takes(args.q, args.k, args.v, args.key_runs, args.scale) && is_aligned(args.carry.out, sizeof(FloatPair));
}

bool fused_attention_takes(const BlockAttentionBackwardArgs& args) {
  const bool pairs_fit = is_aligned(args.d_q, sizeof(FloatPair)) && is_aligned(args.d_k, sizeof(FloatPair)) &&
                         is_aligned(args.d_v, sizeof(FloatPair));
  return takes(args.q, args.k, args.v, args.key_runs, args.scale) && is_aligned(args.d_out, 16) && pairs_fit;
}

}  // namespace rondo::cuda

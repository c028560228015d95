// SPDX-License-Identifier: Apache-2.0
// Which kernel computes a block of attention: NVIDIA's cuDNN or our own fused one. Decided from a committed table and never
// by timing, so that a run repeats; a pure function of what is asked.
#pragma once

#include <optional>
#include <string>

#include "core/dtype.hpp"
#include "kernels/backend_options.hpp"
#include "kernels/cuda/attention_rectangles.hpp"

namespace rondo::cuda {

enum class AttentionPass { Forward, Backward };

/// What is known of a block before it is computed.
struct AttentionBlock {
  AttentionPass pass = AttentionPass::Forward;
  DType dtype = DType::Bf16;
  std::int64_t heads = 1, kv_heads = 1, head_dim = 128;
  std::optional<AttentionRectangles> rectangles;  ///< nothing: the mask cuts the block otherwise
  bool is_cut_by_documents = false;               ///< the rectangles are others in every batch
};

struct AttentionDecision {
  AttentionKernel kernel;  ///< Cudnn or Fused
  std::string reason;      ///< one line
};

/// @param cudnn_missing why cuDNN cannot be used here; empty when it can
/// @throws ConfigError when parallel.attention_kernel = "cudnn" asks for what cuDNN cannot do. With train.deterministic
/// its backward is never used, even so: its sums come in no fixed order.
AttentionDecision choose_attention(const AttentionBlock& block, const BackendOptions& options,
                                   const std::string& cudnn_missing);

}  // namespace rondo::cuda

// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/attention_choice.hpp"

#include <algorithm>
#include <array>

#include "core/error.hpp"
#include "kernels/cuda/fused_attention.hpp"

namespace rondo::cuda {

namespace {

// From how many tokens on a side the smallest rectangle is worth a call of cuDNN. Nothing of this is measured here yet: cuDNN
// is preferred because its published rates on an H100 are about twice the goal of our kernel, from 2K tokens on at d 128 and
// at d 64; below that its fixed cost (launches, a workspace, the merge pass) is large beside the block.
struct Row {
  std::int64_t head_dim;
  AttentionPass pass;
  std::int64_t least_tokens;
};
constexpr std::array kTable{Row{64, AttentionPass::Forward, 2048}, Row{64, AttentionPass::Backward, 2048},
                            Row{128, AttentionPass::Forward, 1024}, Row{128, AttentionPass::Backward, 1024}};

// cuDNN 9 on sm_90: multiples of 8 up to 128 in both passes.
constexpr std::int64_t kLargestHeadDim = 128;

/// Why cuDNN cannot compute the block at all; empty when it can.
std::string obstacle(const AttentionBlock& block, const std::string& cudnn_missing) {
  if (!cudnn_missing.empty()) return cudnn_missing;
  if (block.dtype != DType::Bf16) return "cuDNN takes bf16, this is " + std::string(name_of(block.dtype));
  if (block.head_dim % 8 != 0 || block.head_dim > kLargestHeadDim) {
    return "cuDNN takes head dimensions that are multiples of 8 up to 128, this is " + std::to_string(block.head_dim);
  }
  if (!block.rectangles) return "the mask cuts the block into more than full and causal rectangles";
  for (const AttentionRectangle& rectangle : *block.rectangles) {
    if (rectangle.num_queries == 1 || rectangle.num_keys == 1) return "cuDNN takes no block of a single token";
  }
  return {};
}

std::int64_t shortest_side(const AttentionRectangles& rectangles) {
  std::int64_t side = rectangles.count() == 0 ? 0 : rectangles[0].num_queries;
  for (const AttentionRectangle& rectangle : rectangles) {
    side = std::min({side, rectangle.num_queries, rectangle.num_keys});
  }
  return side;
}

/// Least tokens of the table's row, nothing where it has none.
std::optional<std::int64_t> least_tokens(const AttentionBlock& block) {
  for (const Row& row : kTable) {
    if (row.head_dim == block.head_dim && row.pass == block.pass) return row.least_tokens;
  }
  return std::nullopt;
}

}  // namespace

AttentionDecision choose_attention(const AttentionBlock& block, const BackendOptions& options,
                                   const std::string& cudnn_missing) {
  const auto fused = [](std::string reason) {
    return AttentionDecision{AttentionKernel::Fused, "fused: " + std::move(reason)};
  };
  const auto cudnn = [](std::string reason) {
    return AttentionDecision{AttentionKernel::Cudnn, "cudnn: " + std::move(reason)};
  };
  if (options.attention_kernel == AttentionKernel::Fused) return fused("parallel.attention_kernel asks for it");
  if (options.deterministic && block.pass == AttentionPass::Backward) {
    return fused("train.deterministic, and cuDNN's backward adds in no fixed order");
  }
  const std::string why_not = obstacle(block, cudnn_missing);
  if (options.attention_kernel == AttentionKernel::Cudnn) {
    if (why_not.empty()) return cudnn("parallel.attention_kernel asks for it");
    throw ConfigError("this attention cannot be computed by cuDNN: " + why_not, "parallel.attention_kernel",
                      "set parallel.attention_kernel = \"auto\"");
  }
  if (!why_not.empty()) return fused(why_not);
  if (block.is_cut_by_documents) {
    return fused("documents cut the block, in every batch another way, and cuDNN takes seconds to plan a shape");
  }
  const std::optional<std::int64_t> least = least_tokens(block);
  if (!least) {
    const std::string dim = "head dimension " + std::to_string(block.head_dim);
    if (has_fused_head_dim(block.head_dim)) return fused("the table has no row for " + dim);
    return cudnn("our kernels on tensor cores have no " + dim);
  }
  const std::int64_t side = shortest_side(*block.rectangles);
  if (side < *least) {
    return fused("a side of " + std::to_string(side) + " tokens, cuDNN from " + std::to_string(*least) + " on");
  }
  return cudnn("the table, d " + std::to_string(block.head_dim) + " from " + std::to_string(*least) + " tokens on");
}

}  // namespace rondo::cuda

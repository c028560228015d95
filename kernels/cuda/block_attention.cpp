// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/block_attention.hpp"

#include "core/log.hpp"
#include "kernels/cuda/operations.hpp"

namespace rondo::cuda {

BlockAttention::BlockAttention(const BackendOptions& options) : options_(options) {
  if (options.attention_kernel == AttentionKernel::Fused) {
    cudnn_missing_ = "it was not asked for";
  } else {
    cudnn_ = make_cudnn_attention(cudnn_missing_);
  }
}

template <typename Args>
bool BlockAttention::cudnn_takes(AttentionPass pass, const AttentionSizes& sizes, const Args& args,
                                 const std::optional<AttentionRectangles>& rectangles) {
  const bool is_cut = rectangles && are_cut_by_documents(*rectangles, args.mask, args.query_runs, args.key_runs);
  AttentionDecision decision = choose_attention({.pass = pass,
                                                 .dtype = args.q.dtype,
                                                 .heads = sizes.heads,
                                                 .kv_heads = sizes.kv_heads,
                                                 .head_dim = sizes.head_dim,
                                                 .rectangles = rectangles,
                                                 .is_cut_by_documents = is_cut},
                                                options_, cudnn_missing_);
  if (decision.kernel == AttentionKernel::Cudnn && options_.attention_kernel == AttentionKernel::Auto) {
    const std::string refusal = cudnn_->refusal(pass, sizes, args.scale, *rectangles);
    if (!refusal.empty()) decision = {AttentionKernel::Fused, "fused: cuDNN refuses: " + refusal};
  }
  std::string line = pass == AttentionPass::Forward ? "attention forward by " : "attention backward by ";
  line += decision.reason;
  if (const auto [said, is_new] = decisions_.insert(std::move(line)); is_new) log::info("{}", *said);
  return decision.kernel == AttentionKernel::Cudnn;
}

std::vector<std::string> BlockAttention::kernels_of(const BlockAttentionForwardArgs& block) {
  const AttentionSizes sizes = rondo::check(block);
  const std::optional<AttentionRectangles> rectangles = rectangles_of(block.mask, block.query_runs, block.key_runs);
  if (!rectangles || rectangles->count() > 0) {
    for (const AttentionPass pass : {AttentionPass::Forward, AttentionPass::Backward}) {
      if (!cudnn_takes(pass, sizes, block, rectangles)) continue;
      // What documents cut is another shape in every batch: nothing is known of it before.
      if (are_cut_by_documents(*rectangles, block.mask, block.query_runs, block.key_runs)) continue;
      const std::string refusal = cudnn_->refusal(pass, sizes, block.scale, *rectangles);
      if (!refusal.empty()) {
        throw DeviceError("cuDNN refuses the attention of this model: " + refusal, "parallel.attention_kernel",
                          "set parallel.attention_kernel = \"auto\"");
      }
    }
  }
  return {decisions_.begin(), decisions_.end()};
}

void BlockAttention::forward(Stream& stream, const BlockAttentionForwardArgs& args) {
  const AttentionSizes sizes = rondo::check(args);
  const std::optional<AttentionRectangles> rectangles = rectangles_of(args.mask, args.query_runs, args.key_runs);
  if (rectangles && rectangles->count() == 0) return;  // no query sees a key
  if (cudnn_takes(AttentionPass::Forward, sizes, args, rectangles)) {
    cudnn_->forward(stream, args, *rectangles);
  } else {
    block_attention_forward(stream, args);
  }
}

void BlockAttention::backward(Stream& stream, const BlockAttentionBackwardArgs& args) {
  const AttentionSizes sizes = rondo::check(args);
  const std::optional<AttentionRectangles> rectangles = rectangles_of(args.mask, args.query_runs, args.key_runs);
  if (rectangles && rectangles->count() == 0) return;
  if (args.out && cudnn_takes(AttentionPass::Backward, sizes, args, rectangles)) {
    cudnn_->backward(stream, args, *rectangles);
  } else {
    block_attention_backward(stream, args);
  }
}

}  // namespace rondo::cuda

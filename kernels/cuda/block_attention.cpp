// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/block_attention.hpp"

#include <algorithm>
#include <limits>

#include "core/log.hpp"
#include "kernels/cuda/attention_merge.hpp"
#include "kernels/cuda/operations.hpp"

namespace rondo::cuda {

namespace {

/// One rectangle of a block as a block of its own, whose positions start at 0.
struct RectangleBlock {
  explicit RectangleBlock(const AttentionRectangle& rectangle)
      : query_runs(TokenRuns::contiguous(0, rectangle.num_queries)),
        key_runs(TokenRuns::contiguous(0, rectangle.num_keys)),
        mask{.causal = rectangle.kind == RectangleKind::Causal,
             .sequence_tokens = std::max(rectangle.num_queries, rectangle.num_keys)} {}

  TokenRuns query_runs, key_runs;
  AttentionMaskView mask;
};

void fused_forward(Stream& stream, const BlockAttentionForwardArgs& args, const AttentionRectangle& rectangle) {
  const AttentionSizes sizes = rondo::check(args);
  const RectangleBlock block(rectangle);
  Arena::Scope scope(args.scratch);
  const SoftmaxCarry partial{
      .out = args.scratch.take(DType::Fp32, {rectangle.num_queries, sizes.heads, sizes.head_dim}),  // [t, N, D]
      .lse = args.scratch.take(DType::Fp32, {sizes.heads, rectangle.num_queries})};                 // [N, t]
  fill(stream, partial.out, 0);
  fill(stream, partial.lse, -std::numeric_limits<double>::infinity());
  block_attention_forward(stream, {.q = args.q.rows(rectangle.query_begin, rectangle.num_queries),
                                   .k = args.k.rows(rectangle.key_begin, rectangle.num_keys),
                                   .v = args.v.rows(rectangle.key_begin, rectangle.num_keys),
                                   .query_runs = block.query_runs,
                                   .key_runs = block.key_runs,
                                   .mask = block.mask,
                                   .scale = args.scale,
                                   .carry = partial,
                                   .scratch = args.scratch});
  merge_partial(stream, partial, args.carry, rectangle.query_begin);
}

void fused_backward(Stream& stream, const BlockAttentionBackwardArgs& args, const AttentionRectangle& rectangle) {
  const AttentionSizes sizes = rondo::check(args);
  const RectangleBlock block(rectangle);
  Arena::Scope scope(args.scratch);
  const TensorView lse = args.scratch.take(DType::Fp32, {sizes.heads, rectangle.num_queries});    // [N, t]
  const TensorView delta = args.scratch.take(DType::Fp32, {sizes.heads, rectangle.num_queries});  // [N, t]
  pack_rows(stream, args.lse, lse, rectangle.query_begin, {});
  pack_rows(stream, args.delta, delta, rectangle.query_begin, {});
  const auto queries = [&](const TensorView& of) { return of.rows(rectangle.query_begin, rectangle.num_queries); };
  const auto keys = [&](const TensorView& of) { return of.rows(rectangle.key_begin, rectangle.num_keys); };
  block_attention_backward(stream, {.q = queries(args.q),
                                    .k = keys(args.k),
                                    .v = keys(args.v),
                                    .d_out = queries(args.d_out),
                                    .lse = lse,
                                    .delta = delta,
                                    .query_runs = block.query_runs,
                                    .key_runs = block.key_runs,
                                    .mask = block.mask,
                                    .scale = args.scale,
                                    .d_q = queries(args.d_q),
                                    .d_k = keys(args.d_k),
                                    .d_v = keys(args.d_v),
                                    .scratch = args.scratch});
}

}  // namespace

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

template <typename Compute> bool BlockAttention::is_done_by_cudnn(const Compute& compute) {
  try {
    compute();
    return true;
  } catch (const PlanFailure& failure) {
    if (options_.attention_kernel == AttentionKernel::Cudnn) throw;
    log::warning("cuDNN: {}; the fused kernel computes blocks of this shape from now on", failure.message());
    return false;
  }
}

void BlockAttention::forward(Stream& stream, const BlockAttentionForwardArgs& args) {
  const AttentionSizes sizes = rondo::check(args);
  const std::optional<AttentionRectangles> rectangles = rectangles_of(args.mask, args.query_runs, args.key_runs);
  if (rectangles && rectangles->count() == 0) return;  // no query sees a key
  if (cudnn_takes(AttentionPass::Forward, sizes, args, rectangles)) {
    for (const AttentionRectangle& rectangle : *rectangles) {
      if (!is_done_by_cudnn([&] { cudnn_->forward(stream, args, rectangle); })) fused_forward(stream, args, rectangle);
    }
  } else {
    block_attention_forward(stream, args);
  }
}

void BlockAttention::backward(Stream& stream, const BlockAttentionBackwardArgs& args) {
  const AttentionSizes sizes = rondo::check(args);
  const std::optional<AttentionRectangles> rectangles = rectangles_of(args.mask, args.query_runs, args.key_runs);
  if (rectangles && rectangles->count() == 0) return;
  if (args.out && cudnn_takes(AttentionPass::Backward, sizes, args, rectangles)) {
    for (const AttentionRectangle& rectangle : *rectangles) {
      if (!is_done_by_cudnn([&] { cudnn_->backward(stream, args, rectangle); }))
        fused_backward(stream, args, rectangle);
    }
  } else {
    block_attention_backward(stream, args);
  }
}

}  // namespace rondo::cuda

// SPDX-License-Identifier: Apache-2.0
// What surrounds cuDNN's attention - rectangles, offsets, groups of heads, the passes that merge and add - against the
// reference backend, with a stand-in for cuDNN and the kernels emulated.
#include "kernels/cuda/cudnn_attention.hpp"

#include <cmath>
#include <functional>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/sequence_layout.hpp"
#include "kernels/cuda/block_attention.hpp"
#include "kernels/cuda/cudnn_tensors.hpp"
#include "kernels/reference/backend.hpp"
#include "tests/support/attention.hpp"
#include "tests/support/tolerance.hpp"

namespace rondo::test {

extern bool can_cudnn_start;  // cudnn_stand_in.cpp
extern std::function<bool(const cuda::CudnnProblem&)> fails_to_run;
extern int num_failed_runs;

namespace {

/// The three functions of attention, as attention_by_blocks calls them.
class SurroundedCudnn {
 public:
  void block_attention_forward(Stream& stream, const BlockAttentionForwardArgs& args) {
    for (const auto& rectangle : rectangles(args.mask, args.query_runs, args.key_runs)) {
      cudnn_->forward(stream, args, rectangle);
    }
  }
  void block_attention_backward(Stream& stream, const BlockAttentionBackwardArgs& args) {
    for (const auto& rectangle : rectangles(args.mask, args.query_runs, args.key_runs)) {
      cudnn_->backward(stream, args, rectangle);
    }
  }
  void attention_delta(Stream& stream, const AttentionDeltaArgs& args) { reference_->attention_delta(stream, args); }

 private:
  static cuda::AttentionRectangles rectangles(const AttentionMaskView& mask, const TokenRuns& queries,
                                              const TokenRuns& keys) {
    const auto found = cuda::rectangles_of(mask, queries, keys);
    ensure(found.has_value(), "the test's masks are made of rectangles");
    return *found;
  }

  std::string why_not_;
  std::unique_ptr<cuda::RectangleAttention> cudnn_ = cuda::make_cudnn_attention(why_not_);
  std::unique_ptr<Backend> reference_ = make_reference_backend(cpu_device());
};

struct Sizes {
  std::int64_t tokens, heads, kv_heads, dim;
};

void expect_like_reference(const Sizes& sizes, const AttentionMask& mask, int ring, LayoutKind kind) {
  SCOPED_TRACE(testing::Message() << sizes.tokens << " tokens, heads " << sizes.heads << ":" << sizes.kv_heads
                                  << ", dim " << sizes.dim << ", " << ring << " ranks, " << name_of(kind));
  const auto input = AttentionInput::random(DType::Bf16, sizes.tokens, sizes.heads, sizes.kv_heads, sizes.dim, 3);
  const double scale = 1 / std::sqrt(static_cast<double>(sizes.dim));
  const SequenceLayout layout(sizes.tokens, ring, kind);
  std::vector<TokenRuns> shards;
  for (int rank = 0; rank < ring; ++rank) shards.push_back(layout.runs(rank));
  const auto reference = make_reference_backend(cpu_device());
  SurroundedCudnn cudnn;
  const AttentionResult plain = attention_by_blocks(*reference, input, mask, scale, shards, shards);
  const AttentionResult exact = attention_in_one_block(*reference, input.converted(DType::Fp64), mask, scale);
  const AttentionResult result = attention_by_blocks(cudnn, input, mask, scale, shards, shards);
  expect_within_tolerance(result, plain, exact);
}

TEST(CudnnAttention, MatchesTheReferenceInEveryLayout) {
  for (const LayoutKind kind : kLayoutKinds) {
    for (const int ring : {1, 2, 3}) {
      expect_like_reference({.tokens = 37, .heads = 4, .kv_heads = 2, .dim = 16}, AttentionMask({.causal = true}, 37),
                            ring, kind);
    }
  }
}

TEST(CudnnAttention, MatchesTheReferenceForGroupedHeadsOfEverySize) {
  const AttentionMask mask({.causal = true}, 24);
  for (const std::int64_t kv_heads : {1, 2, 8}) {
    for (const std::int64_t dim : {8, 24, 64, 136}) {  // a row has fewer, just as many and more vectors than a warp
      expect_like_reference({.tokens = 24, .heads = 8, .kv_heads = kv_heads, .dim = dim}, mask, 2, LayoutKind::Zigzag);
    }
  }
}

TEST(CudnnAttention, MatchesTheReferenceForDocumentsAndWithoutACausalMask) {
  const Sizes sizes{.tokens = 30, .heads = 2, .kv_heads = 1, .dim = 8};
  expect_like_reference(sizes, AttentionMask({.causal = true}, 30, {0, 11, 30}), 2, LayoutKind::Zigzag);
  expect_like_reference(sizes, AttentionMask({.causal = false}, 30), 3, LayoutKind::Contiguous);
  expect_like_reference(sizes, AttentionMask({.causal = false}, 30, {0, 10, 30}), 3, LayoutKind::Contiguous);
}

/// What the backend does with a block, as attention_by_blocks calls it.
class ChosenAttention {
 public:
  explicit ChosenAttention(AttentionKernel asked) : chosen_({.deterministic = false, .attention_kernel = asked}) {}

  void block_attention_forward(Stream& stream, const BlockAttentionForwardArgs& args) { chosen_.forward(stream, args); }
  void block_attention_backward(Stream& stream, const BlockAttentionBackwardArgs& args) {
    chosen_.backward(stream, args);
  }
  void attention_delta(Stream& stream, const AttentionDeltaArgs& args) { reference_->attention_delta(stream, args); }
  const std::set<std::string>& decisions() const { return chosen_.decisions(); }

 private:
  cuda::BlockAttention chosen_;
  std::unique_ptr<Backend> reference_ = make_reference_backend(cpu_device());
};

TEST(BlockAttention, TakesItsOwnKernelWhereCudnnRefusesToPlan) {
  constexpr std::int64_t tokens = 20, refused = 40;  // cudnn_stand_in.cpp
  const AttentionMask mask({.causal = true}, tokens);
  for (const std::int64_t dim : {refused, std::int64_t{48}}) {
    const auto input = AttentionInput::random(DType::Bf16, tokens, 2, 1, dim, 3);
    const auto reference = make_reference_backend(cpu_device());
    const AttentionResult plain = attention_in_one_block(*reference, input, mask, 0.2);
    const AttentionResult exact = attention_in_one_block(*reference, input.converted(DType::Fp64), mask, 0.2);
    ChosenAttention chosen(AttentionKernel::Auto);
    const AttentionResult result = attention_in_one_block(chosen, input, mask, 0.2);
    EXPECT_TRUE(within_tolerance(result.out, plain.out, exact.out)) << dim;
    EXPECT_TRUE(within_tolerance(result.d_k, plain.d_k, exact.d_k)) << dim;
    EXPECT_THAT(chosen.decisions(), testing::Each(testing::HasSubstr(dim == refused ? "refuses" : "cudnn: ")));
    EXPECT_EQ(chosen.decisions().size(), 2U);
    ChosenAttention asked(AttentionKernel::Cudnn);
    if (dim == refused) {
      EXPECT_THROW(attention_in_one_block(asked, input, mask, 0.2), DeviceError);
    }
  }
}

// As Infini-attention asks: a few segments are rectangles for cuDNN, more of them our kernel computes.
TEST(BlockAttention, GivesCudnnAFewSegmentsAndTakesItsOwnKernelForMany) {
  constexpr std::int64_t tokens = 54;
  const auto input = AttentionInput::random(DType::Bf16, tokens, 2, 1, 48, 3);
  const auto reference = make_reference_backend(cpu_device());
  for (const std::int64_t segment_tokens : {18, 6}) {
    for (const std::int64_t window_segments : {0, 1}) {
      const AttentionMask mask({.causal = true, .segment_tokens = segment_tokens, .window_segments = window_segments},
                               tokens);
      const AttentionResult plain = attention_in_one_block(*reference, input, mask, 0.2);
      const AttentionResult exact = attention_in_one_block(*reference, input.converted(DType::Fp64), mask, 0.2);
      ChosenAttention chosen(AttentionKernel::Auto);
      const AttentionResult result = attention_in_one_block(chosen, input, mask, 0.2);
      EXPECT_TRUE(within_tolerance(result.out, plain.out, exact.out)) << segment_tokens;
      EXPECT_TRUE(within_tolerance(result.d_q, plain.d_q, exact.d_q)) << segment_tokens;
      EXPECT_TRUE(within_tolerance(result.d_k, plain.d_k, exact.d_k)) << segment_tokens;
      const char* why = segment_tokens == 18 ? "by cudnn: " : "by fused: the mask cuts the block";
      EXPECT_THAT(chosen.decisions(), testing::Each(testing::HasSubstr(why)));
      EXPECT_EQ(chosen.decisions().size(), 2U);
    }
  }
}

/// Makes cuDNN fail when it runs what it has planned, until the end of the scope.
struct FailingRuns {
  explicit FailingRuns(std::function<bool(const cuda::CudnnProblem&)> which) { fails_to_run = std::move(which); }
  ~FailingRuns() { fails_to_run = {}; }
};

// The blocks of a zigzag ring are causal squares and full rectangles, so one block has rectangles of both kernels.
TEST(BlockAttention, ComputesByItsOwnKernelWhatCudnnFailsToRun) {
  constexpr std::int64_t tokens = 36;
  using cuda::AttentionPass, cuda::CudnnProblem, cuda::RectangleKind;
  const AttentionMask mask({.causal = true}, tokens);
  const SequenceLayout layout(tokens, 2, LayoutKind::Zigzag);
  const std::vector<TokenRuns> runs{layout.runs(0), layout.runs(1)};
  const auto input = AttentionInput::random(DType::Bf16, tokens, 4, 2, 48, 3);
  const auto reference = make_reference_backend(cpu_device());
  const AttentionResult plain = attention_by_blocks(*reference, input, mask, 0.2, runs, runs);
  const AttentionResult exact = attention_in_one_block(*reference, input.converted(DType::Fp64), mask, 0.2);
  for (const RectangleKind kind : {RectangleKind::Causal, RectangleKind::Full}) {
    for (const AttentionPass pass : {AttentionPass::Forward, AttentionPass::Backward}) {
      num_failed_runs = 0;
      const FailingRuns failing(
          [&](const CudnnProblem& problem) { return problem.kind == kind && problem.pass == pass; });
      ChosenAttention chosen(AttentionKernel::Auto);
      expect_within_tolerance(attention_by_blocks(chosen, input, mask, 0.2, runs, runs), plain, exact);
      const int failures = std::exchange(num_failed_runs, 0);
      EXPECT_GT(failures, 0);
      expect_within_tolerance(attention_by_blocks(chosen, input, mask, 0.2, runs, runs), plain, exact);
      EXPECT_THAT(chosen.decisions(), testing::Contains(testing::HasSubstr("could not run the plan")));
      EXPECT_EQ(num_failed_runs, 0) << "what failed is not tried again";
      ChosenAttention asked(AttentionKernel::Cudnn);
      EXPECT_THROW(attention_by_blocks(asked, input, mask, 0.2, runs, runs), DeviceError);
    }
  }
}

// Nothing is computed: the tensors have an address only.
TEST(BlockAttention, SaysBeforeItComputesWhatWillAndRefusesWhatCannot) {
  constexpr std::int64_t tokens = 20, refused = 40;  // cudnn_stand_in.cpp
  const AttentionMask mask({.causal = true}, tokens);
  const TokenRuns runs = TokenRuns::contiguous(0, tokens);
  Arena scratch(cpu_device(), MemoryUse::Workspace);
  std::byte nowhere{};
  const auto ask = [&](AttentionKernel kernel, std::int64_t dim, DType dtype) {
    cuda::BlockAttention attention({.deterministic = false, .attention_kernel = kernel});
    const auto tensor = [&](DType type, const Shape& shape) { return TensorView{&nowhere, type, shape}; };
    const TensorView keys = tensor(dtype, {tokens, 1, dim});
    return attention.kernels_of({.q = tensor(dtype, {tokens, 2, dim}),
                                 .k = keys,
                                 .v = keys,
                                 .query_runs = runs,
                                 .key_runs = runs,
                                 .mask = mask.view(),
                                 .scale = 0.2,
                                 .carry = {tensor(DType::Fp32, {tokens, 2, dim}), tensor(DType::Fp32, {2, tokens})},
                                 .scratch = scratch});
  };
  EXPECT_THAT(ask(AttentionKernel::Cudnn, 48, DType::Bf16),
              testing::ElementsAre(testing::StartsWith("attention backward by cudnn: "),
                                   testing::StartsWith("attention forward by cudnn: ")));
  EXPECT_THAT(ask(AttentionKernel::Auto, refused, DType::Bf16),
              testing::Each(testing::HasSubstr("fused: cuDNN refuses")));
  EXPECT_THROW(ask(AttentionKernel::Cudnn, refused, DType::Bf16), DeviceError);
  EXPECT_THROW(ask(AttentionKernel::Cudnn, 48, DType::Fp32), ConfigError);
}

TEST(BlockAttention, TakesItsOwnKernelWhereCudnnCannotStart) {
  const auto input = AttentionInput::random(DType::Bf16, 20, 2, 1, 48, 3);
  const AttentionMask mask({.causal = true}, 20);
  can_cudnn_start = false;
  ChosenAttention chosen(AttentionKernel::Auto), asked(AttentionKernel::Cudnn);
  can_cudnn_start = true;
  attention_in_one_block(chosen, input, mask, 0.2);
  EXPECT_THAT(chosen.decisions(), testing::Each(testing::HasSubstr("fused: cuDNN cannot use this GPU")));
  EXPECT_THROW(attention_in_one_block(asked, input, mask, 0.2), ConfigError);
}

}  // namespace
}  // namespace rondo::test

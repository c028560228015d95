// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/attention_choice.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.hpp"

namespace rondo::test {
namespace {

using cuda::AttentionBlock;
using cuda::AttentionPass;
using cuda::AttentionRectangle;
using cuda::AttentionRectangles;
using cuda::choose_attention;
using cuda::RectangleKind;
using testing::HasSubstr;

std::optional<AttentionRectangles> square(std::int64_t tokens) {
  AttentionRectangles rectangles;
  rectangles.append({RectangleKind::Causal, 0, tokens, 0, tokens});
  return rectangles;
}

/// A block that the table gives to cuDNN.
AttentionBlock large_block(AttentionPass pass = AttentionPass::Forward) {
  return {.pass = pass, .dtype = DType::Bf16, .heads = 32, .kv_heads = 8, .head_dim = 128, .rectangles = square(8192)};
}

const BackendOptions kFast{.deterministic = false, .attention_kernel = AttentionKernel::Auto};

AttentionKernel kernel_of(const AttentionBlock& block, const BackendOptions& options = kFast) {
  return choose_attention(block, options, "").kernel;
}

TEST(AttentionChoice, GivesLargeBlocksToCudnn) {
  for (const std::int64_t head_dim : {64, 128}) {
    for (const AttentionPass pass : {AttentionPass::Forward, AttentionPass::Backward}) {
      AttentionBlock block = large_block(pass);
      block.head_dim = head_dim;
      EXPECT_EQ(kernel_of(block), AttentionKernel::Cudnn) << head_dim;
      block.rectangles = square(128);
      EXPECT_EQ(kernel_of(block), AttentionKernel::Fused) << head_dim;
    }
  }
}

TEST(AttentionChoice, LooksAtTheShortestSideOfAllRectangles) {
  AttentionBlock block = large_block();
  block.rectangles->append({RectangleKind::Full, 0, 8192, 0, 16});
  EXPECT_EQ(kernel_of(block), AttentionKernel::Fused);
}

TEST(AttentionChoice, NeverUsesCudnnBackwardInDeterministicRuns) {
  for (const AttentionKernel asked : {AttentionKernel::Auto, AttentionKernel::Cudnn, AttentionKernel::Fused}) {
    const BackendOptions options{.deterministic = true, .attention_kernel = asked};
    EXPECT_EQ(kernel_of(large_block(AttentionPass::Backward), options), AttentionKernel::Fused);
  }
  EXPECT_EQ(kernel_of(large_block(), {.deterministic = true, .attention_kernel = AttentionKernel::Auto}),
            AttentionKernel::Cudnn);
}

TEST(AttentionChoice, LeavesToTheFusedKernelWhatCudnnCannotDo) {
  AttentionBlock fp32 = large_block(), wide = large_block(), odd = large_block(), cut = large_block(),
                 single = large_block(), unlisted = large_block();
  fp32.dtype = DType::Fp32;
  wide.head_dim = 256;
  odd.head_dim = 100;
  cut.rectangles.reset();
  single.rectangles = square(1);
  unlisted.head_dim = 96;
  for (const auto& [block, why] :
       {std::pair{fp32, "bf16"}, {wide, "256"}, {odd, "100"}, {cut, "mask"}, {single, "single"}}) {
    const auto decision = choose_attention(block, kFast, "");
    EXPECT_EQ(decision.kernel, AttentionKernel::Fused);
    EXPECT_THAT(decision.reason, HasSubstr(why));
  }
  EXPECT_EQ(kernel_of(unlisted), AttentionKernel::Fused);
  EXPECT_THAT(choose_attention(large_block(), kFast, "libcudnn.so.9 was not found").reason, HasSubstr("not found"));
}

TEST(AttentionChoice, GivesCudnnTheHeadDimensionsThatOurKernelsLack) {
  AttentionBlock block = large_block();
  block.rectangles = square(16);
  for (const std::int64_t head_dim : {8, 80, 112}) {
    block.head_dim = head_dim;
    EXPECT_EQ(kernel_of(block), AttentionKernel::Cudnn) << head_dim;
  }
}

TEST(AttentionChoice, LeavesToTheFusedKernelWhatDocumentsCut) {
  AttentionBlock block = large_block();
  block.is_cut_by_documents = true;
  EXPECT_EQ(kernel_of(block), AttentionKernel::Fused);
  EXPECT_EQ(kernel_of(block, {.deterministic = false, .attention_kernel = AttentionKernel::Cudnn}),
            AttentionKernel::Cudnn);
}

TEST(AttentionChoice, DoesWhatTheConfigurationAsksForOrSaysWhyNot) {
  const BackendOptions fused{.deterministic = false, .attention_kernel = AttentionKernel::Fused};
  const BackendOptions cudnn{.deterministic = false, .attention_kernel = AttentionKernel::Cudnn};
  EXPECT_EQ(kernel_of(large_block(), fused), AttentionKernel::Fused);
  AttentionBlock small = large_block();
  small.rectangles = square(64);
  small.head_dim = 96;
  EXPECT_EQ(kernel_of(small, cudnn), AttentionKernel::Cudnn);
  small.dtype = DType::Fp64;
  try {
    choose_attention(small, cudnn, "");
    FAIL() << "cuDNN has no fp64";
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.message(), HasSubstr("fp64"));
    EXPECT_THAT(error.advice(), HasSubstr("auto"));
  }
}

TEST(AttentionChoice, SaysItsReasonInOneLine) {
  for (const AttentionPass pass : {AttentionPass::Forward, AttentionPass::Backward}) {
    const std::string reason = choose_attention(large_block(pass), kFast, "").reason;
    EXPECT_THAT(reason, testing::StartsWith("cudnn: "));
    EXPECT_EQ(reason.find('\n'), std::string::npos);
  }
}

}  // namespace
}  // namespace rondo::test

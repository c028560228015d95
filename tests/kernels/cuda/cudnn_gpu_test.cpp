// SPDX-License-Identifier: Apache-2.0
// cuDNN itself against the reference backend, on a GPU; skipped visibly where there is none.
#include <cmath>
#include <gtest/gtest.h>

#include "core/sequence_layout.hpp"
#include "kernels/device_module.hpp"
#include "kernels/reference/backend.hpp"
#include "tests/kernels/cuda/attention_on_device.hpp"
#include "tests/support/attention.hpp"
#include "tests/support/tolerance.hpp"

namespace rondo::test {
namespace {

struct Sizes {
  std::int64_t tokens, heads, kv_heads, dim;
};

class CudnnOnAGpu : public testing::TestWithParam<Sizes> {};

TEST_P(CudnnOnAGpu, MatchesTheReferenceInEveryLayout) {
  std::string why_none;
  if (device_module().num_devices(why_none) == 0) GTEST_SKIP() << "no GPU: " << why_none;
  const auto [tokens, heads, kv_heads, dim] = GetParam();
  const auto input = AttentionInput::random(DType::Bf16, tokens, heads, kv_heads, dim, 3);
  const AttentionMask mask({.causal = true}, tokens);
  const double scale = 1 / std::sqrt(static_cast<double>(dim));
  const auto reference = make_reference_backend(cpu_device());
  const AttentionResult exact = attention_in_one_block(*reference, input.converted(DType::Fp64), mask, scale);
  const auto device = device_module().open_device(0);
  const auto backend =
      device_module().make_backend(*device, {.deterministic = false, .attention_kernel = AttentionKernel::Cudnn});
  AttentionOnDevice cudnn(*device, *backend);
  for (const LayoutKind kind : kLayoutKinds) {
    SCOPED_TRACE(name_of(kind));
    const SequenceLayout layout(tokens, 2, kind);
    const std::vector<TokenRuns> shares{layout.runs(0), layout.runs(1)};
    const AttentionResult plain = attention_by_blocks(*reference, input, mask, scale, shares, shares);
    const AttentionResult result = attention_by_blocks(cudnn, input, mask, scale, shares, shares);
    expect_within_tolerance(result, plain, exact);
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, CudnnOnAGpu,
                         testing::Values(Sizes{512, 4, 1, 128}, Sizes{512, 2, 2, 128}, Sizes{386, 4, 2, 64}));

}  // namespace
}  // namespace rondo::test

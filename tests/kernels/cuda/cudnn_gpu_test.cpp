// SPDX-License-Identifier: Apache-2.0
// cuDNN itself against the reference backend, on a GPU; skipped visibly where there is none.
#include <cmath>
#include <gtest/gtest.h>

#include "core/sequence_layout.hpp"
#include "kernels/device_module.hpp"
#include "kernels/reference/backend.hpp"
#include "tests/support/attention.hpp"
#include "tests/support/tolerance.hpp"

namespace rondo::test {
namespace {

/// The three functions of attention for host tensors, by a backend that is told to use cuDNN.
class CudnnOnGpu {
 public:
  CudnnOnGpu()
      : device_(device_module().open_device(0)),
        backend_(device_module().make_backend(*device_,
                                              {.deterministic = false, .attention_kernel = AttentionKernel::Cudnn})) {}

  void block_attention_forward(Stream&, const BlockAttentionForwardArgs& args) {
    const Buffer q = upload(args.q), k = upload(args.k), v = upload(args.v), out = upload(args.carry.out),
                 lse = upload(args.carry.lse);
    backend_->block_attention_forward(*stream_, {.q = q.view(),
                                                 .k = k.view(),
                                                 .v = v.view(),
                                                 .query_runs = args.query_runs,
                                                 .key_runs = args.key_runs,
                                                 .mask = args.mask,
                                                 .scale = args.scale,
                                                 .carry = {.out = out.view(), .lse = lse.view()},
                                                 .scratch = scratch_});
    download(out, args.carry.out);
    download(lse, args.carry.lse);
  }

  void block_attention_backward(Stream&, const BlockAttentionBackwardArgs& args) {
    const Buffer q = upload(args.q), k = upload(args.k), v = upload(args.v), d_out = upload(args.d_out),
                 lse = upload(args.lse), delta = upload(args.delta), out = upload(args.out), d_q = upload(args.d_q),
                 d_k = upload(args.d_k), d_v = upload(args.d_v);
    backend_->block_attention_backward(*stream_, {.q = q.view(),
                                                  .k = k.view(),
                                                  .v = v.view(),
                                                  .d_out = d_out.view(),
                                                  .lse = lse.view(),
                                                  .delta = delta.view(),
                                                  .query_runs = args.query_runs,
                                                  .key_runs = args.key_runs,
                                                  .mask = args.mask,
                                                  .scale = args.scale,
                                                  .d_q = d_q.view(),
                                                  .d_k = d_k.view(),
                                                  .d_v = d_v.view(),
                                                  .scratch = scratch_,
                                                  .out = out.view()});
    download(d_q, args.d_q);
    download(d_k, args.d_k);
    download(d_v, args.d_v);
  }

  void attention_delta(Stream&, const AttentionDeltaArgs& args) {
    const Buffer out = upload(args.out), d_out = upload(args.d_out), delta = upload(args.delta);
    backend_->attention_delta(*stream_, {.out = out.view(), .d_out = d_out.view(), .delta = delta.view()});
    download(delta, args.delta);
  }

 private:
  Buffer upload(const TensorView& from) {
    Buffer to(*device_, from.dtype, from.shape, MemoryUse::Workspace);
    device_->copy(*stream_, to.data(), from.data, from.size_bytes());
    return to;
  }
  void download(const Buffer& from, const TensorView& to) {
    device_->copy(*stream_, to.data, from.data(), to.size_bytes());
    device_->synchronize(*stream_);
  }

  std::unique_ptr<Device> device_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Stream> stream_ = device_->make_stream(StreamRole::Compute);
  Arena scratch_{*device_, MemoryUse::Workspace};
};

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
  CudnnOnGpu cudnn;
  for (const LayoutKind kind : {LayoutKind::Contiguous, LayoutKind::Zigzag, LayoutKind::Striped}) {
    SCOPED_TRACE(name_of(kind));
    const SequenceLayout layout(tokens, 2, kind);
    const std::vector<TokenRuns> shares{layout.runs(0), layout.runs(1)};
    const AttentionResult plain = attention_by_blocks(*reference, input, mask, scale, shares, shares);
    const AttentionResult result = attention_by_blocks(cudnn, input, mask, scale, shares, shares);
    EXPECT_TRUE(within_tolerance(result.out, plain.out, exact.out)) << "out";
    EXPECT_TRUE(within_tolerance(result.lse, plain.lse, exact.lse)) << "lse";
    EXPECT_TRUE(within_tolerance(result.d_q, plain.d_q, exact.d_q)) << "d_q";
    EXPECT_TRUE(within_tolerance(result.d_k, plain.d_k, exact.d_k)) << "d_k";
    EXPECT_TRUE(within_tolerance(result.d_v, plain.d_v, exact.d_v)) << "d_v";
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, CudnnOnAGpu,
                         testing::Values(Sizes{512, 4, 1, 128}, Sizes{512, 2, 2, 128}, Sizes{386, 4, 2, 64}));

}  // namespace
}  // namespace rondo::test

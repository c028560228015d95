// SPDX-License-Identifier: Apache-2.0
#include "kernels/device_module.hpp"

#include <cmath>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <limits>

#include "kernels/reference/backend.hpp"
#include "tests/support/tensor.hpp"
#include "tests/support/tolerance.hpp"

namespace rondo::test {
namespace {

TEST(DeviceModule, IsTheOneOfThisBuildOrNamedAsMissing) {
  if (RONDO_HAS_CUDA) {
    EXPECT_STREQ(device_module().build_id, build_id());
    return;
  }
  try {
    device_module();
    FAIL() << "there is no module to open";
  } catch (const DeviceError& error) {
    EXPECT_THAT(error.message(), testing::HasSubstr("librondo_cuda.so is missing"));
    EXPECT_THAT(error.advice(), testing::HasSubstr("RONDO_CUDA"));
  }
}

TEST(DeviceModule, SaysWhyThereIsNoDevice) {
  if (!RONDO_HAS_CUDA) GTEST_SKIP() << "built without a CUDA toolkit";
  std::string why_none;
  if (device_module().num_devices(why_none) == 0) {
    EXPECT_FALSE(why_none.empty());
  } else {
    EXPECT_TRUE(why_none.empty());
  }
}

TEST(DeviceModule, ThrowsErrorsThatTheProgramCatches) {
  if (!RONDO_HAS_CUDA) GTEST_SKIP() << "built without a CUDA toolkit";
  EXPECT_THROW(device_module().make_backend(cpu_device(), {}), Error);
  std::string why_none;
  const int beyond_the_last = device_module().num_devices(why_none);
  EXPECT_THROW(device_module().open_device(beyond_the_last), DeviceError);
}

/// Runs one operation on the GPU, and on the CPU in the same precision and in fp64.
class Gpu : public testing::TestWithParam<DType> {
 protected:
  void SetUp() override {
    std::string why_none = "built without a CUDA toolkit";
    if (!RONDO_HAS_CUDA || device_module().num_devices(why_none) == 0) GTEST_SKIP() << "no GPU: " << why_none;
    device = device_module().open_device(0);
    backend = device_module().make_backend(*device, {});
    stream = device->make_stream(StreamRole::Compute);
    scratch = std::make_unique<Arena>(*device, MemoryUse::Workspace);
  }
  Buffer upload(const Tensor& tensor) {
    Buffer buffer(*device, tensor.dtype(), tensor.shape(), MemoryUse::Workspace);
    device->copy(*stream, buffer.data(), tensor.view().data, tensor.view().size_bytes());
    return buffer;
  }
  Tensor download(const Buffer& buffer) {
    Tensor tensor(buffer.view().dtype, buffer.view().shape);
    device->copy(*stream, tensor.view().data, buffer.data(), tensor.view().size_bytes());
    device->synchronize(*stream);
    return tensor;
  }

  std::unique_ptr<Device> device;
  std::unique_ptr<Backend> backend;
  std::unique_ptr<Stream> stream;
  std::unique_ptr<Arena> scratch;
  std::unique_ptr<Backend> reference = make_reference_backend(cpu_device());
  Host host;
};

TEST_P(Gpu, NormalisesAsTheReference) {
  const Tensor x = Tensor::random(GetParam(), {65, 257}, 1), weight = Tensor::random(GetParam(), {257}, 2),
               d_y = Tensor::random(GetParam(), {65, 257}, 3), start = Tensor::random(GetParam(), {65, 257}, 4);
  const auto on_host = [&](DType type) {
    const DType accumulator = accumulator_of(type);
    std::vector<Tensor> results;
    Tensor y(type, x.shape()), d_x = start.converted(type), d_weight(accumulator, weight.shape());
    reference->rms_norm_forward(*host.stream,
                                {.x = x.converted(type), .weight = weight.converted(type), .y = y, .epsilon = 1e-5});
    reference->rms_norm_backward(*host.stream, {.d_y = d_y.converted(type),
                                                .x = x.converted(type),
                                                .weight = weight.converted(type),
                                                .d_x = d_x,
                                                .d_weight = d_weight,
                                                .epsilon = 1e-5,
                                                .scratch = host.scratch});
    results.push_back(std::move(y));
    results.push_back(std::move(d_x));
    results.push_back(std::move(d_weight));
    return results;
  };
  const Buffer gpu_x = upload(x), gpu_weight = upload(weight), gpu_d_y = upload(d_y), y = upload(start),
               d_x = upload(start), d_weight = upload(Tensor(accumulator_of(GetParam()), weight.shape()));
  backend->rms_norm_forward(*stream, {.x = gpu_x.view(), .weight = gpu_weight.view(), .y = y.view(), .epsilon = 1e-5});
  backend->rms_norm_backward(*stream, {.d_y = gpu_d_y.view(),
                                       .x = gpu_x.view(),
                                       .weight = gpu_weight.view(),
                                       .d_x = d_x.view(),
                                       .d_weight = d_weight.view(),
                                       .epsilon = 1e-5,
                                       .scratch = *scratch});
  const std::vector<Tensor> plain = on_host(GetParam()), exact = on_host(DType::Fp64);
  EXPECT_TRUE(within_tolerance(download(y), plain[0], exact[0]));
  EXPECT_TRUE(within_tolerance(download(d_x), plain[1], exact[1]));
  EXPECT_TRUE(within_tolerance(download(d_weight), plain[2], exact[2]));
}

/// Two blocks of keys, the later one first, as on a ring; grouped heads, documents and a window.
TEST_P(Gpu, AttendsAsTheReference) {
  const std::int64_t tokens = 300, heads = 4, kv_heads = 2, dim = 48;
  const AttentionMask mask({.causal = true, .window = 190}, tokens, {0, 7, 290, 300});
  const TokenRuns queries = TokenRuns::contiguous(0, tokens);
  TokenRuns even, odd;
  even.append(0, 2, tokens / 2);
  odd.append(1, 2, tokens / 2);
  const Tensor q = Tensor::random(GetParam(), {tokens, heads, dim}, 1),
               d_out = Tensor::random(GetParam(), {tokens, heads, dim}, 2);
  const Tensor k = Tensor::random(GetParam(), {tokens, kv_heads, dim}, 3),
               v = Tensor::random(GetParam(), {tokens, kv_heads, dim}, 4);

  // Keys and values of the even positions are rows [0, T/2), those of the odd ones the rest.
  const auto run = [&](Backend& b, Stream& s, Arena& arena, const std::vector<TensorView>& in,
                       const std::vector<TensorView>& out) {
    const auto half = [&](const TensorView& whole, bool is_odd) {
      return whole.rows(is_odd ? tokens / 2 : 0, tokens / 2);
    };
    for (const bool is_odd : {true, false}) {
      b.block_attention_forward(s, {.q = in[0],
                                    .k = half(in[1], is_odd),
                                    .v = half(in[2], is_odd),
                                    .query_runs = queries,
                                    .key_runs = is_odd ? odd : even,
                                    .mask = mask.view(),
                                    .scale = 0.2,
                                    .carry = {.out = out[0], .lse = out[1]},
                                    .scratch = arena});
    }
    b.attention_delta(s, {.out = out[0], .d_out = in[3], .delta = out[2]});
    for (const bool is_odd : {true, false}) {
      b.block_attention_backward(s, {.q = in[0],
                                     .k = half(in[1], is_odd),
                                     .v = half(in[2], is_odd),
                                     .d_out = in[3],
                                     .lse = out[1],
                                     .delta = out[2],
                                     .query_runs = queries,
                                     .key_runs = is_odd ? odd : even,
                                     .mask = mask.view(),
                                     .scale = 0.2,
                                     .d_q = out[3],
                                     .d_k = half(out[4], is_odd),
                                     .d_v = half(out[5], is_odd),
                                     .scratch = arena});
    }
  };
  const auto empty_results = [&](DType type) {
    std::vector<Tensor> results;
    results.emplace_back(type, q.shape());
    results.push_back(Tensor::filled(type, {heads, tokens}, -std::numeric_limits<double>::infinity()));
    results.emplace_back(type, Shape{heads, tokens});
    results.emplace_back(type, q.shape());
    results.emplace_back(type, k.shape());
    results.emplace_back(type, v.shape());
    return results;
  };
  const auto views_of = [](const auto& holders) {
    std::vector<TensorView> views;
    for (const auto& holder : holders) views.push_back(holder.view());
    return views;
  };
  const auto on_host = [&](DType type) {
    std::vector<Tensor> inputs, results = empty_results(accumulator_of(type));
    for (const Tensor* input : {&q, &k, &v, &d_out}) inputs.push_back(input->converted(type));
    run(*reference, *host.stream, host.scratch, views_of(inputs), views_of(results));
    return results;
  };
  const std::vector<Tensor> plain = on_host(GetParam()), exact = on_host(DType::Fp64);
  std::vector<Buffer> inputs, results;
  for (const Tensor* input : {&q, &k, &v, &d_out}) inputs.push_back(upload(*input));
  for (const Tensor& result : empty_results(accumulator_of(GetParam()))) results.push_back(upload(result));
  run(*backend, *stream, *scratch, views_of(inputs), views_of(results));
  const char* names[] = {"out", "lse", "delta", "d_q", "d_k", "d_v"};
  for (std::size_t i = 0; i < results.size(); ++i) {
    EXPECT_TRUE(within_tolerance(download(results[i]), plain[i], exact[i])) << names[i];
  }
}

INSTANTIATE_TEST_SUITE_P(Types, Gpu, testing::Values(DType::Fp64, DType::Fp32, DType::Bf16),
                         [](const auto& test) { return std::string(name_of(test.param)); });

}  // namespace
}  // namespace rondo::test

// SPDX-License-Identifier: Apache-2.0
#include <limits>

#include "tests/kernels/cuda/cuda_world.hpp"

namespace rondo::test {
namespace {

class CudaAttention : public CudaWorld, public testing::WithParamInterface<AttentionMask::Rule> {};

/// Two blocks of keys, the later one first, as on a ring; grouped heads and documents.
TEST_P(CudaAttention, FitsTheTolerance) {
  const std::int64_t tokens = 150, heads = 4, kv_heads = 2, dim = 48;
  const AttentionMask mask(GetParam(), tokens, {0, 7, 140, 150});
  const TokenRuns queries = TokenRuns::contiguous(0, tokens);
  TokenRuns even, odd;
  even.append(0, 2, tokens / 2);
  odd.append(1, 2, tokens / 2);
  const Shape query_shape{tokens, heads, dim}, key_shape{tokens, kv_heads, dim};
  // Keys and values of the even positions are rows [0, T/2), those of the odd ones the rest.
  const auto half = [&](const Buffer& whole, bool is_odd) {
    return whole.view().rows(is_odd ? tokens / 2 : 0, tokens / 2);
  };
  expect_like_reference([&](Place& place, DType type, DType held) {
    const DType sums = accumulator_of(held);
    const Buffer q = place.put(input(type, held, query_shape, 1)), d_out = place.put(input(type, held, query_shape, 2));
    const Buffer k = place.put(input(type, held, key_shape, 3)), v = place.put(input(type, held, key_shape, 4));
    std::vector<Buffer> out;
    out.push_back(place.put(Tensor(sums, query_shape)));
    out.push_back(place.put(Tensor::filled(sums, {heads, tokens}, -std::numeric_limits<double>::infinity())));
    out.push_back(place.put(Tensor(sums, {heads, tokens})));
    for (const Shape& shape : {query_shape, key_shape, key_shape}) out.push_back(place.put(Tensor(sums, shape)));
    for (const bool is_odd : {true, false}) {
      place.backend.block_attention_forward(*place.stream, {.q = q.view(),
                                                            .k = half(k, is_odd),
                                                            .v = half(v, is_odd),
                                                            .query_runs = queries,
                                                            .key_runs = is_odd ? odd : even,
                                                            .mask = mask.view(),
                                                            .scale = 0.2,
                                                            .carry = {.out = out[0].view(), .lse = out[1].view()},
                                                            .scratch = place.scratch});
    }
    place.backend.attention_delta(*place.stream, {.out = out[0].view(), .d_out = d_out.view(), .delta = out[2].view()});
    for (const bool is_odd : {true, false}) {
      place.backend.block_attention_backward(*place.stream, {.q = q.view(),
                                                             .k = half(k, is_odd),
                                                             .v = half(v, is_odd),
                                                             .d_out = d_out.view(),
                                                             .lse = out[1].view(),
                                                             .delta = out[2].view(),
                                                             .query_runs = queries,
                                                             .key_runs = is_odd ? odd : even,
                                                             .mask = mask.view(),
                                                             .scale = 0.2,
                                                             .d_q = out[3].view(),
                                                             .d_k = half(out[4], is_odd),
                                                             .d_v = half(out[5], is_odd),
                                                             .scratch = place.scratch});
    }
    return place.get_all(out);
  });
}

INSTANTIATE_TEST_SUITE_P(Masks, CudaAttention,
                         testing::Values(AttentionMask::Rule{.causal = true, .window = 90},
                                         AttentionMask::Rule{
                                             .causal = true, .segment_tokens = 40, .window_segments = 1}));

}  // namespace
}  // namespace rondo::test

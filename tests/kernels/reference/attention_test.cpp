// SPDX-License-Identifier: Apache-2.0
#include "kernels/attention.hpp"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <tuple>

#include "core/sequence_layout.hpp"
#include "kernels/reference/backend.hpp"
#include "tests/support/attention.hpp"
#include "tests/support/gradient.hpp"
#include "tests/support/tolerance.hpp"

namespace rondo::test {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

class Attention : public testing::Test {
 protected:
  void run_forward(const Tensor& q, const Tensor& k, const Tensor& v, const TokenRuns& queries, const TokenRuns& keys,
                   const AttentionMask& mask, Tensor& out, Tensor& lse) {
    backend->block_attention_forward(*host.stream, {.q = q,
                                                    .k = k,
                                                    .v = v,
                                                    .query_runs = queries,
                                                    .key_runs = keys,
                                                    .mask = mask.view(),
                                                    .scale = 1,
                                                    .carry = {.out = out, .lse = lse},
                                                    .scratch = host.scratch});
  }

  std::unique_ptr<Backend> backend = make_reference_backend(cpu_device());
  Host host;
};

TEST_F(Attention, WeighsValuesBySoftmaxOfScores) {
  // Scores 0 and ln 3: weights 1/4 and 3/4, log-sum-exp ln 4.
  const AttentionMask mask({.causal = false}, 2);
  const Tensor q(DType::Fp64, {1, 1, 1}, {1}), k(DType::Fp64, {2, 1, 1}, {0, std::log(3.0)}),
      v(DType::Fp64, {2, 1, 1}, {4, 8});
  Tensor out(DType::Fp64, {1, 1, 1}), lse = Tensor::filled(DType::Fp64, {1, 1}, -kInfinity);
  run_forward(q, k, v, TokenRuns::contiguous(0, 1), TokenRuns::contiguous(0, 2), mask, out, lse);
  EXPECT_DOUBLE_EQ(out[0], 7);
  EXPECT_DOUBLE_EQ(lse[0], std::log(4.0));
}

TEST_F(Attention, MergesWithTheCarryByLogSumExp) {
  // The carry holds weight 1 (lse 0) with value 3; the block brings weights 1 and 2 with values 6 and 9.
  const AttentionMask mask({.causal = false}, 2);
  const Tensor q(DType::Fp64, {1, 1, 1}, {1}), k(DType::Fp64, {2, 1, 1}, {0, std::log(2.0)}),
      v(DType::Fp64, {2, 1, 1}, {6, 9});
  Tensor out(DType::Fp64, {1, 1, 1}, {3}), lse(DType::Fp64, {1, 1}, {0});
  run_forward(q, k, v, TokenRuns::contiguous(0, 1), TokenRuns::contiguous(0, 2), mask, out, lse);
  EXPECT_DOUBLE_EQ(out[0], (3 + 6 + 2 * 9) / 4.0);
  EXPECT_DOUBLE_EQ(lse[0], std::log(4.0));
}

TEST_F(Attention, LeavesARowWithoutKeysEmpty) {
  // A causal query at position 0 or 1 sees no key of positions 2 and 3; the query at 2 sees one.
  const AttentionMask mask({.causal = true}, 4);
  const AttentionInput input = AttentionInput::random(DType::Fp64, 4, 2, 1, 3, 5);
  const TokenRuns queries = TokenRuns::contiguous(0, 3), keys = TokenRuns::contiguous(2, 2);
  const Tensor q = gather(input.q, queries), k = gather(input.k, keys), v = gather(input.v, keys);
  Tensor out(DType::Fp64, {3, 2, 3}), lse = Tensor::filled(DType::Fp64, {2, 3}, -kInfinity);
  run_forward(q, k, v, queries, keys, mask, out, lse);
  for (std::int64_t i = 0; i < 2 * 2 * 3; ++i) EXPECT_EQ(out[i], 0);
  for (std::int64_t n = 0; n < 2; ++n) {
    EXPECT_EQ(lse[n * 3], -kInfinity);
    EXPECT_EQ(lse[n * 3 + 1], -kInfinity);
    EXPECT_TRUE(std::isfinite(lse[n * 3 + 2]));
  }
  for (std::int64_t d = 0; d < 3; ++d) EXPECT_DOUBLE_EQ(out[2 * 6 + d], v[d]);  // one key: its value
}

TEST_F(Attention, PassesANonFiniteQueryOn) {
  const AttentionMask mask({.causal = false}, 2);
  const Tensor q(DType::Fp64, {1, 1, 1}, {std::nan("")}), k(DType::Fp64, {2, 1, 1}, {1, 2}),
      v(DType::Fp64, {2, 1, 1}, {1, 1});
  Tensor out(DType::Fp64, {1, 1, 1}), lse = Tensor::filled(DType::Fp64, {1, 1}, -kInfinity);
  run_forward(q, k, v, TokenRuns::contiguous(0, 1), TokenRuns::contiguous(0, 2), mask, out, lse);
  EXPECT_TRUE(std::isnan(out[0]));
  EXPECT_TRUE(std::isnan(lse[0]));
}

TEST_F(Attention, SurvivesLargeLogits) {
  const AttentionMask mask({.causal = false}, 2);
  const Tensor q(DType::Fp32, {1, 1, 1}, {100}), k(DType::Fp32, {2, 1, 1}, {100, -100}),
      v(DType::Fp32, {2, 1, 1}, {5, 7});
  Tensor out(DType::Fp32, {1, 1, 1}), lse = Tensor::filled(DType::Fp32, {1, 1}, -kInfinity);
  run_forward(q, k, v, TokenRuns::contiguous(0, 1), TokenRuns::contiguous(0, 2), mask, out, lse);
  EXPECT_EQ(out[0], 5);
  EXPECT_EQ(lse[0], 10000);
}

TEST_F(Attention, TellsTheStreamThatItIsAlive) {
  const AttentionMask mask({.causal = false}, 64);
  const AttentionInput input = AttentionInput::random(DType::Fp64, 64, 1, 1, 32, 1);
  Tensor out(DType::Fp64, {64, 1, 32}), lse = Tensor::filled(DType::Fp64, {1, 64}, -kInfinity);
  int calls = 0;
  host.stream->set_progress([&calls] { ++calls; });
  const TokenRuns all = TokenRuns::contiguous(0, 64);
  run_forward(input.q, input.k, input.v, all, all, mask, out, lse);
  EXPECT_EQ(calls, 4 * 64 * 64 * 32 / 32768);  // once for each 32,768 multiply-adds
}

TEST_F(Attention, RefusesShapesThatDoNotFit) {
  const AttentionMask mask({.causal = false}, 2);
  const Tensor q(DType::Fp64, {1, 3, 2}), k(DType::Fp64, {2, 2, 2}), v(DType::Fp64, {2, 2, 2});
  Tensor out(DType::Fp64, {1, 3, 2}), lse(DType::Fp64, {3, 1});
  EXPECT_THROW(run_forward(q, k, v, TokenRuns::contiguous(0, 1), TokenRuns::contiguous(0, 2), mask, out, lse), Error);
  const Tensor one_head(DType::Fp64, {2, 1, 2});
  EXPECT_NO_THROW(
      run_forward(q, one_head, one_head, TokenRuns::contiguous(0, 1), TokenRuns::contiguous(0, 2), mask, out, lse));
  EXPECT_THROW(
      run_forward(q, one_head, one_head, TokenRuns::contiguous(0, 1), TokenRuns::contiguous(0, 1), mask, out, lse),
      Error);
  Tensor narrow(DType::Fp32, {1, 3, 2});
  EXPECT_THROW(
      run_forward(q, one_head, one_head, TokenRuns::contiguous(0, 1), TokenRuns::contiguous(0, 2), mask, narrow, lse),
      Error);
}

TEST_F(Attention, HasAnExactGradient) {
  AttentionInput input = AttentionInput::random(DType::Fp64, 7, 4, 2, 5, 11);
  const AttentionMask mask({.causal = true, .window = 4}, 7, {0, 5, 7});
  const auto objective = [&] { return dot(attention_in_one_block(*backend, input, mask, 0.4).out, input.d_out); };
  const AttentionResult result = attention_in_one_block(*backend, input, mask, 0.4);
  expect_gradient("q", objective, input.q, result.d_q);
  expect_gradient("k", objective, input.k, result.d_k);
  expect_gradient("v", objective, input.v, result.d_v);
}

struct MaskCase {
  const char* name;
  AttentionMask::Rule rule;
  std::vector<std::int64_t> documents;
};

using BlockCase = std::tuple<MaskCase, LayoutKind, int>;  // mask, layout, shards

class AttentionBlocks : public testing::TestWithParam<BlockCase> {};

TEST_P(AttentionBlocks, GiveTheResultOfOneBlockInEveryOrder) {
  const auto& [mask_case, layout_kind, num_shards] = GetParam();
  const std::int64_t tokens = 29;
  const auto backend = make_reference_backend(cpu_device());
  const AttentionInput input = AttentionInput::random(DType::Fp64, tokens, 4, 2, 6, 21);
  const AttentionMask mask(mask_case.rule, tokens, mask_case.documents);
  const AttentionResult expected = attention_in_one_block(*backend, input, mask, 0.5);

  const SequenceLayout layout(tokens, num_shards, layout_kind);
  std::vector<TokenRuns> shards;
  for (int rank = 0; rank < num_shards; ++rank) shards.push_back(layout.runs(rank));
  std::vector<TokenRuns> order = shards;
  for (int rotation = 0; rotation < num_shards; ++rotation) {
    for (int direction = 0; direction < 2; ++direction) {
      const AttentionResult result = attention_by_blocks(*backend, input, mask, 0.5, shards, order);
      // Sums of up to 29 terms of size 1 in another order: a few units of 1e-16 each.
      EXPECT_LE(max_difference(result.out, expected.out), 1e-13);
      EXPECT_LE(max_difference(result.lse, expected.lse), 1e-13);
      EXPECT_LE(max_difference(result.d_q, expected.d_q), 1e-13);
      EXPECT_LE(max_difference(result.d_k, expected.d_k), 1e-13);
      EXPECT_LE(max_difference(result.d_v, expected.d_v), 1e-13);
      std::reverse(order.begin(), order.end());
    }
    std::rotate(order.begin(), order.begin() + 1, order.end());
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, AttentionBlocks,
    testing::Combine(testing::Values(MaskCase{"full", {.causal = false}, {}}, MaskCase{"causal", {.causal = true}, {}},
                                     MaskCase{"window", {.causal = true, .window = 5}, {}},
                                     MaskCase{"documents", {.causal = true}, {0, 1, 11, 24, 29}},
                                     MaskCase{"full_documents", {.causal = false}, {0, 13, 29}},
                                     MaskCase{"window_documents", {.causal = true, .window = 7}, {0, 9, 29}}),
                     testing::ValuesIn(kLayoutKinds), testing::Values(2, 5)),
    [](const testing::TestParamInfo<BlockCase>& test) {
      return std::string(std::get<0>(test.param).name) + "_" + std::string(name_of(std::get<1>(test.param))) + "_" +
             std::to_string(std::get<2>(test.param));
    });

class AttentionPrecision : public testing::TestWithParam<DType> {};

TEST_P(AttentionPrecision, LosesNoMoreThanItsRoundings) {
  const auto backend = make_reference_backend(cpu_device());
  const AttentionInput rounded = AttentionInput::random(GetParam(), 96, 2, 1, 32, 31);
  const AttentionMask mask({.causal = true}, 96);
  const double scale = 1 / std::sqrt(32.0);
  const AttentionResult plain = attention_in_one_block(*backend, rounded, mask, scale);
  const AttentionResult exact = attention_in_one_block(*backend, rounded.converted(DType::Fp64), mask, scale);
  // Weights sum to one, so rounding each once moves the output by at most one rounding of the largest value.
  // The fp32 sums over 96 keys and 32 dims add some roundings of their own: 20 is generous for the random
  // signs here.
  const double rounding = GetParam() == DType::Bf16 ? unit_roundoff(DType::Bf16) : 20 * unit_roundoff(DType::Fp32);
  EXPECT_LE(error_of(plain.out.converted(DType::Fp64), exact.out).largest, 4 * rounding);
  EXPECT_LE(error_of(plain.lse.converted(DType::Fp64), exact.lse).largest, 64 * unit_roundoff(DType::Fp32));
  EXPECT_GT(error_of(plain.out.converted(DType::Fp64), exact.out).largest, 0);
}

INSTANTIATE_TEST_SUITE_P(Types, AttentionPrecision, testing::Values(DType::Fp32, DType::Bf16),
                         [](const auto& test) { return std::string(name_of(test.param)); });

}  // namespace
}  // namespace rondo::test

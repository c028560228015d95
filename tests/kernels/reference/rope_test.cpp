// SPDX-License-Identifier: Apache-2.0
#include "kernels/rope.hpp"

#include <cmath>
#include <gtest/gtest.h>
#include <numbers>

#include "kernels/reference/backend.hpp"
#include "tests/support/gradient.hpp"
#include "tests/support/tensor.hpp"

namespace rondo::test {
namespace {

struct Split {
  Tensor q, k, v;
};

class QkvSplit : public testing::Test {
 protected:
  Split split(const Tensor& qkv, std::int64_t heads, std::int64_t kv_heads, std::int64_t dim,
              const TokenRuns& positions, const std::vector<double>& frequencies) {
    const std::int64_t tokens = qkv.shape()[0];
    Split parts{.q = Tensor(qkv.dtype(), {tokens, heads, dim}),
                .k = Tensor(qkv.dtype(), {tokens, kv_heads, dim}),
                .v = Tensor(qkv.dtype(), {tokens, kv_heads, dim})};
    backend->qkv_split_forward(*host.stream, {.qkv = qkv,
                                              .q = parts.q,
                                              .k = parts.k,
                                              .v = parts.v,
                                              .positions = positions,
                                              .inverse_frequencies = frequencies});
    return parts;
  }

  std::unique_ptr<Backend> backend = make_reference_backend(cpu_device());
  Host host;
};

TEST_F(QkvSplit, RotatesPairsThatAreHalfAHeadApart) {
  // One token at position 1; pair (0, 2) turns by a quarter, pair (1, 3) by a half; values are not rotated.
  const Tensor qkv(DType::Fp64, {1, 12}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12});
  const Split parts = split(qkv, 1, 1, 4, TokenRuns::contiguous(1, 1), {std::numbers::pi / 2, std::numbers::pi});
  const double q[] = {-3, -2, 1, -4}, k[] = {-7, -6, 5, -8}, v[] = {9, 10, 11, 12};
  for (std::int64_t i = 0; i < 4; ++i) {
    EXPECT_NEAR(parts.q[i], q[i], 1e-15 * 8);  // cos(pi/2) is 6e-17, not 0
    EXPECT_NEAR(parts.k[i], k[i], 1e-15 * 8);
    EXPECT_EQ(parts.v[i], v[i]);
  }
}

TEST_F(QkvSplit, LeavesPositionZeroAndUnrotatedModelsAlone) {
  const Tensor qkv = Tensor::random(DType::Fp64, {2, 16}, 1);
  const std::vector<double> frequencies{1.0, 0.01};
  const Split at_zero = split(qkv, 2, 1, 4, TokenRuns::contiguous(0, 2), frequencies);
  const Split unrotated = split(qkv, 2, 1, 4, TokenRuns::contiguous(0, 2), {});
  for (std::int64_t i = 0; i < 8; ++i) EXPECT_EQ(at_zero.q[i], qkv[i]);
  for (std::int64_t i = 0; i < 8; ++i) EXPECT_EQ(unrotated.q[8 + i], qkv[16 + i]);
  for (std::int64_t i = 0; i < 4; ++i) EXPECT_EQ(unrotated.k[4 + i], qkv[16 + 8 + i]);
  for (std::int64_t i = 0; i < 4; ++i) EXPECT_EQ(unrotated.v[4 + i], qkv[16 + 12 + i]);
}

TEST_F(QkvSplit, TakesPositionsFromTheRuns) {
  TokenRuns runs;
  runs.append(5, 3, 2);
  runs.append(100, 1, 1);
  const Tensor qkv = Tensor::random(DType::Fp64, {3, 6}, 2);
  const std::vector<double> frequencies{0.3};
  const Split parts = split(qkv, 1, 1, 2, runs, frequencies);
  const std::int64_t positions[] = {5, 8, 100};
  for (std::int64_t t = 0; t < 3; ++t) {
    const Tensor row(DType::Fp64, {1, 6}, {qkv[t * 6], qkv[t * 6 + 1], qkv[t * 6 + 2], qkv[t * 6 + 3], 0, 0});
    const Split one = split(row, 1, 1, 2, TokenRuns::contiguous(positions[t], 1), frequencies);
    EXPECT_EQ(parts.q[t * 2], one.q[0]);
    EXPECT_EQ(parts.k[t * 2 + 1], one.k[1]);
  }
}

TEST_F(QkvSplit, StaysExactAtPositionsBeyondAHundredMillion) {
  // Frequency 1: the angle is the position itself, exact in fp64; long double sine and cosine are the
  // reference.
  for (const std::int64_t position : {std::int64_t{100'000'007}, std::int64_t{1} << 40}) {
    const Tensor qkv(DType::Fp64, {1, 6}, {1, 0, 0, 1, 0, 0});
    const Split parts = split(qkv, 1, 1, 2, TokenRuns::contiguous(position, 1), {1.0});
    // Reduction by the fp64 value of 2 pi (wrong by 2.4e-16) costs position / (2 pi) * 2.4e-16: 4e-9 at 1e8,
    // 4e-5 at 2^40.
    const double allowed = static_cast<double>(position) * 4e-17 + 1e-15;
    EXPECT_NEAR(parts.q[0], static_cast<double>(std::cos(static_cast<long double>(position))), allowed);
    EXPECT_NEAR(parts.q[1], static_cast<double>(std::sin(static_cast<long double>(position))), allowed);
  }
}

TEST_F(QkvSplit, HasTheTransposedMapAsBackward) {
  Tensor qkv = Tensor::random(DType::Fp64, {3, 24}, 3);
  const TokenRuns positions = TokenRuns::contiguous(40, 3);
  const std::vector<double> frequencies{1.0, 0.1, 0.01};
  const Tensor d_q = Tensor::random(DType::Fp64, {3, 2, 6}, 4), d_k = Tensor::random(DType::Fp64, {3, 1, 6}, 5),
               d_v = Tensor::random(DType::Fp64, {3, 1, 6}, 6);
  Tensor d_qkv = Tensor::filled(DType::Fp64, {3, 24}, 99);
  backend->qkv_split_backward(
      *host.stream,
      {.d_q = d_q, .d_k = d_k, .d_v = d_v, .d_qkv = d_qkv, .positions = positions, .inverse_frequencies = frequencies});
  const auto objective = [&] {
    const Split parts = split(qkv, 2, 1, 6, positions, frequencies);
    return dot(parts.q, d_q) + dot(parts.k, d_k) + dot(parts.v, d_v);
  };
  expect_gradient("qkv", objective, qkv, d_qkv, {.entries = 72});
}

}  // namespace
}  // namespace rondo::test

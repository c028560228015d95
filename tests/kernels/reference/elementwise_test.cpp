// SPDX-License-Identifier: Apache-2.0
#include "kernels/elementwise.hpp"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>

#include "kernels/reference/backend.hpp"
#include "tests/support/tensor.hpp"

namespace rondo::test {
namespace {

class Elementwise : public testing::Test {
 protected:
  std::unique_ptr<Backend> backend = make_reference_backend(cpu_device());
  Host host;
};

TEST_F(Elementwise, ConvertRoundsToNearestOnce) {
  // Above the tie between 1 and 1 + 2^-7 by 2^-40: rounding by way of fp32 would lose that and go to 1.
  const Tensor from(DType::Fp64, {4}, {1 + 0x1p-8 + 0x1p-40, -(1 + 0x1p-8 + 0x1p-40), 1 + 0x1p-8, 1e300});
  Tensor to(DType::Bf16, {4});
  backend->convert(*host.stream, {.from = from, .to = to});
  EXPECT_EQ(to[0], 1 + 0x1p-7);
  EXPECT_EQ(to[1], -(1 + 0x1p-7));
  EXPECT_EQ(to[2], 1);  // a tie goes to the even one
  EXPECT_TRUE(std::isinf(to[3]));
}

TEST_F(Elementwise, ConvertJoinsEveryPairOfTypes) {
  const DType types[] = {DType::Fp64, DType::Fp32, DType::Bf16};
  for (const DType from_type : types) {
    for (const DType to_type : types) {
      const Tensor from(from_type, {3}, {1.5, -2, 0.25});
      Tensor to(to_type, {3});
      backend->convert(*host.stream, {.from = from, .to = to});
      EXPECT_EQ(to.values(), from.values());
    }
  }
}

TEST_F(Elementwise, AddWorksInTheWiderType) {
  // 1 + 2^-9 twice: bf16 alone would lose each half of the last place.
  Tensor to(DType::Bf16, {1}, {1});
  backend->add(*host.stream, {.from = Tensor(DType::Fp32, {1}, {0x1p-8 + 0x1p-20}), .to = to});
  EXPECT_EQ(to[0], 1 + 0x1p-7);
  Tensor wide(DType::Fp64, {1}, {0x1p-40});
  backend->add(*host.stream, {.from = Tensor(DType::Fp32, {1}, {1}), .to = wide});
  EXPECT_EQ(wide[0], 1 + 0x1p-40);
}

TEST_F(Elementwise, SumFoldsFixedChunksInOrder) {
  const std::int64_t count = 2 * kSumChunk + 5;
  const Tensor x = Tensor::random(DType::Fp32, {count}, 1);
  double sum = 100, squares = 0, expected_sum = 0, expected_squares = 0;
  for (std::int64_t first = 0; first < count; first += kSumChunk) {
    double partial = 0, partial_squares = 0;
    for (std::int64_t i = first; i < std::min(first + kSumChunk, count); ++i) {
      partial += x[i];
      partial_squares += x[i] * x[i];
    }
    expected_sum += partial;
    expected_squares += partial_squares;
  }
  backend->sum(*host.stream, {.x = x, .power = SumArgs::Power::One, .result = &sum});
  backend->sum(*host.stream, {.x = x, .power = SumArgs::Power::Two, .result = &squares});
  EXPECT_EQ(sum, 100 + expected_sum);
  EXPECT_EQ(squares, expected_squares);
}

class AdamW : public testing::TestWithParam<DType> {};

TEST_P(AdamW, FollowsThePaperForTwoSteps) {
  const auto backend = make_reference_backend(cpu_device());
  Host host;
  Tensor value(GetParam(), {1}, {1}), moment_1(GetParam(), {1}), moment_2(GetParam(), {1}), copy(DType::Bf16, {1});
  double w = 1, m = 0, u = 0;
  const double gradients[] = {4, -1};
  for (std::int64_t step = 1; step <= 2; ++step) {
    const double g = gradients[step - 1] / 2;  // clipped by a half
    backend->adamw(*host.stream, {.value = value,
                                  .moment_1 = moment_1,
                                  .moment_2 = moment_2,
                                  .gradient = Tensor(GetParam(), {1}, {gradients[step - 1]}),
                                  .compute_copy = copy,
                                  .gradient_scale = 0.5,
                                  .learning_rate = 0.1,
                                  .beta_1 = 0.9,
                                  .beta_2 = 0.95,
                                  .epsilon = 1e-8,
                                  .weight_decay = 0.2,
                                  .step = step});
    m = 0.9 * m + 0.1 * g;
    u = 0.95 * u + 0.05 * g * g;
    const double corrected_m = m / (1 - std::pow(0.9, static_cast<double>(step)));
    const double corrected_u = u / (1 - std::pow(0.95, static_cast<double>(step)));
    w = w - 0.1 * 0.2 * w - 0.1 * corrected_m / (std::sqrt(corrected_u) + 1e-8);
    const double rounding = GetParam() == DType::Fp64 ? 1e-15 : 1e-6;  // a dozen roundings of numbers near 1
    EXPECT_NEAR(value[0], w, rounding);
    EXPECT_NEAR(moment_1[0], m, rounding);
    EXPECT_NEAR(moment_2[0], u, rounding);
    EXPECT_EQ(copy[0], value.converted(DType::Bf16)[0]);
  }
}

INSTANTIATE_TEST_SUITE_P(Types, AdamW, testing::Values(DType::Fp64, DType::Fp32),
                         [](const auto& test) { return std::string(name_of(test.param)); });

}  // namespace
}  // namespace rondo::test

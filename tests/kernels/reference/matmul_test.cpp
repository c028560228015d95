// SPDX-License-Identifier: Apache-2.0
#include "kernels/matmul.hpp"

#include <gtest/gtest.h>

#include "kernels/reference/backend.hpp"
#include "tests/support/tensor.hpp"

namespace rondo::test {
namespace {

class Matmul : public testing::TestWithParam<DType> {
 protected:
  std::unique_ptr<Backend> backend = make_reference_backend(cpu_device());
  Host host;
};

// a = [1 2 3; 4 5 6], b = [1 0; 2 1; 0 3]: a b = [5 11; 14 23]
const std::vector<double> kProduct{5, 11, 14, 23};

TEST_P(Matmul, MultipliesEveryTransposition) {
  const Tensor a(GetParam(), {2, 3}, {1, 2, 3, 4, 5, 6}), a_transposed(GetParam(), {3, 2}, {1, 4, 2, 5, 3, 6});
  const Tensor b(GetParam(), {3, 2}, {1, 0, 2, 1, 0, 3}), b_transposed(GetParam(), {2, 3}, {1, 2, 0, 0, 1, 3});
  constexpr auto kNo = Transpose::No, kYes = Transpose::Yes;
  Tensor c = Tensor::filled(GetParam(), {2, 2}, 99);
  backend->matmul(*host.stream, {.a = a, .b = b, .c = c});
  EXPECT_EQ(c.values(), kProduct);
  backend->matmul(*host.stream, {.a = a_transposed, .b = b, .c = c, .transpose_a = kYes, .transpose_b = kNo});
  EXPECT_EQ(c.values(), kProduct);
  backend->matmul(*host.stream, {.a = a, .b = b_transposed, .c = c, .transpose_a = kNo, .transpose_b = kYes});
  EXPECT_EQ(c.values(), kProduct);
  backend->matmul(*host.stream,
                  {.a = a_transposed, .b = b_transposed, .c = c, .transpose_a = kYes, .transpose_b = kYes});
  EXPECT_EQ(c.values(), kProduct);
}

TEST_P(Matmul, AddsToTheOutputOnlyWhenAsked) {
  const Tensor a(GetParam(), {1, 2}, {1, 2}), b(GetParam(), {2, 1}, {3, 4});
  Tensor c(accumulator_of(GetParam()), {1, 1}, {100});
  backend->matmul(*host.stream, {.a = a, .b = b, .c = c, .accumulate = true});
  EXPECT_EQ(c[0], 111);
  backend->matmul(*host.stream, {.a = a, .b = b, .c = c});
  EXPECT_EQ(c[0], 11);
}

TEST_P(Matmul, GivesTheSameBitsWhenRowsAreCutIntoCalls) {
  const Tensor a = Tensor::random(GetParam(), {7, 33}, 1), b = Tensor::random(GetParam(), {33, 19}, 2);
  Tensor whole(GetParam(), {7, 19}), cut(GetParam(), {7, 19});
  backend->matmul(*host.stream, {.a = a, .b = b, .c = whole});
  backend->matmul(*host.stream, {.a = a.view().rows(0, 3), .b = b, .c = cut.view().rows(0, 3)});
  backend->matmul(*host.stream, {.a = a.view().rows(3, 4), .b = b, .c = cut.view().rows(3, 4)});
  EXPECT_EQ(whole.values(), cut.values());
}

INSTANTIATE_TEST_SUITE_P(Types, Matmul, testing::Values(DType::Fp64, DType::Fp32, DType::Bf16),
                         [](const auto& test) { return std::string(name_of(test.param)); });

TEST(MatmulPrecision, KeepsSumsOfBf16InFp32) {
  // 1 + 2^-9 is not a bf16, but it is an fp32: the sum survives until the output is rounded.
  const auto backend = make_reference_backend(cpu_device());
  Host host;
  const Tensor a(DType::Bf16, {1, 2}, {1, 0x1p-9}), b = Tensor::filled(DType::Bf16, {2, 1}, 1);
  Tensor wide(DType::Fp32, {1, 1}), narrow(DType::Bf16, {1, 1});
  backend->matmul(*host.stream, {.a = a, .b = b, .c = wide});
  backend->matmul(*host.stream, {.a = a, .b = b, .c = narrow});
  EXPECT_EQ(wide[0], 1 + 0x1p-9);
  EXPECT_EQ(narrow[0], 1);
}

TEST(MatmulChecks, RefuseShapesAndTypesThatDoNotFit) {
  const Tensor a(DType::Fp32, {2, 3}), b(DType::Fp32, {3, 4}), c(DType::Fp32, {2, 4});
  EXPECT_EQ(check({.a = a, .b = b, .c = c}).k, 3);
  EXPECT_THROW(check({.a = a, .b = b, .c = c, .transpose_a = Transpose::Yes}), Error);
  EXPECT_THROW(check({.a = a, .b = Tensor(DType::Fp32, {2, 4}), .c = c}), Error);
  EXPECT_THROW(check({.a = a, .b = Tensor(DType::Bf16, {3, 4}), .c = c}), Error);
  EXPECT_THROW(check({.a = a, .b = b, .c = Tensor(DType::Bf16, {2, 4})}), Error);
}

}  // namespace
}  // namespace rondo::test

// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "tests/kernels/cpu/cpu_backends.hpp"
#include "tests/support/tolerance.hpp"

namespace rondo::test {
namespace {

class CpuMatmul : public CpuBackends {
 protected:
  struct Case {
    std::int64_t m, n, k;
    Transpose a = Transpose::No, b = Transpose::No;
    bool accumulate = false;
  };

  Tensor multiply(Backend& backend, const Case& c, const Tensor& a, const Tensor& b, const Tensor& start) {
    Tensor out = start.copy();
    backend.matmul(*host.stream,
                   {.a = a, .b = b, .c = out, .transpose_a = c.a, .transpose_b = c.b, .accumulate = c.accumulate});
    return out;
  }

  void expect_like_reference(const Case& c, DType type, DType out_type) {
    SCOPED_TRACE(testing::Message() << c.m << "x" << c.n << "x" << c.k << " " << name_of(type) << " -> "
                                    << name_of(out_type) << (c.a == Transpose::Yes ? " a^T" : "")
                                    << (c.b == Transpose::Yes ? " b^T" : "") << (c.accumulate ? " +=" : ""));
    const Tensor a = Tensor::random(type, c.a == Transpose::Yes ? Shape{c.k, c.m} : Shape{c.m, c.k}, 1);
    const Tensor b = Tensor::random(type, c.b == Transpose::Yes ? Shape{c.n, c.k} : Shape{c.k, c.n}, 2);
    const Tensor start = Tensor::random(out_type, {c.m, c.n}, 3);
    const Tensor result = multiply(*cpu, c, a, b, start);
    const Tensor plain = multiply(*reference, c, a, b, start);
    const Tensor exact =
        multiply(*reference, c, a.converted(DType::Fp64), b.converted(DType::Fp64), start.converted(DType::Fp64));
    EXPECT_TRUE(within_tolerance(result, plain, exact));
  }
};

TEST_P(CpuMatmul, FitsTheToleranceForAllTypesAndTranspositions) {
  for (const Transpose a : {Transpose::No, Transpose::Yes}) {
    for (const Transpose b : {Transpose::No, Transpose::Yes}) {
      for (const bool accumulate : {false, true}) {
        expect_like_reference({113, 67, 203, a, b, accumulate}, DType::Fp32, DType::Fp32);
        expect_like_reference({113, 67, 203, a, b, accumulate}, DType::Bf16, DType::Fp32);
        expect_like_reference({113, 67, 203, a, b, accumulate}, DType::Bf16, DType::Bf16);
      }
    }
  }
}

TEST_P(CpuMatmul, FitsTheToleranceForNastySizes) {
  for (const DType type : {DType::Fp32, DType::Bf16}) {
    expect_like_reference({1, 1, 1}, type, DType::Fp32);
    expect_like_reference({1, 239, 64}, type, DType::Fp32);
    expect_like_reference({3, 1, 1023}, type, DType::Fp32);
    expect_like_reference({239, 3, 1}, type, DType::Fp32);
    expect_like_reference({33, 2100, 17, Transpose::No, Transpose::Yes}, type, type);
    expect_like_reference({1100, 17, 33, Transpose::Yes}, type, type);
    expect_like_reference({5, 9, 4200, Transpose::Yes, Transpose::No, true}, type, DType::Fp32);
  }
}

TEST_P(CpuMatmul, WritesZerosForAnEmptySum) {
  Tensor c = Tensor::filled(DType::Fp32, {2, 2}, 5);
  cpu->matmul(*host.stream, {.a = Tensor(DType::Fp32, {2, 0}), .b = Tensor(DType::Fp32, {0, 2}), .c = c});
  EXPECT_EQ(max_difference(c, Tensor(DType::Fp32, {2, 2})), 0);
}

TEST_P(CpuMatmul, AllocatesOnlyWhenAShapeIsNew) {
  const Tensor a = Tensor::random(DType::Bf16, {64, 128}, 1), b = Tensor::random(DType::Bf16, {128, 96}, 2);
  Tensor c(DType::Fp32, {64, 96});
  cpu->matmul(*host.stream, {.a = a, .b = b, .c = c});
  const auto before = cpu_device().memory().num_allocations();
  for (int i = 0; i < 3; ++i) cpu->matmul(*host.stream, {.a = a, .b = b, .c = c});
  EXPECT_EQ(cpu_device().memory().num_allocations(), before);
}

INSTANTIATE_TEST_SUITE_P(Isa, CpuMatmul, testing::ValuesIn(isas_of_this_processor()), name_of_isa);

}  // namespace
}  // namespace rondo::test

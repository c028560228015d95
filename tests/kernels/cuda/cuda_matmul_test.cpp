// SPDX-License-Identifier: Apache-2.0
// Products on a GPU, against the reference backend. They are cublasLt's, so the emulation has none.
#include "tests/kernels/cuda/cuda_world.hpp"

namespace rondo::test {
namespace {

class CudaMatmul : public CudaWorld {};

TEST_F(CudaMatmul, FitsTheToleranceForEveryTranspositionAndType) {
  for (const MatmulSizes& size : {MatmulSizes{1, 1, 1}, MatmulSizes{64, 96, 32}, MatmulSizes{37, 53, 101},
                                  MatmulSizes{129, 1, 257}, MatmulSizes{256, 512, 1024}}) {
    for (const auto transpose_a : {Transpose::No, Transpose::Yes}) {
      for (const auto transpose_b : {Transpose::No, Transpose::Yes}) {
        for (const bool accumulate : {false, true}) {
          expect_like_reference([&](Place& place, DType type, DType held) {
            const bool a_transposed = transpose_a == Transpose::Yes, b_transposed = transpose_b == Transpose::Yes;
            const Shape a_shape = a_transposed ? Shape{size.k, size.m} : Shape{size.m, size.k};
            const Shape b_shape = b_transposed ? Shape{size.n, size.k} : Shape{size.k, size.n};
            const Buffer a = place.put(input(type, held, a_shape, 1)), b = place.put(input(type, held, b_shape, 2));
            std::vector<Buffer> out;
            for (const DType result : {held, accumulator_of(held)}) {
              out.push_back(place.put(input(type, result, {size.m, size.n}, 3)));
              place.backend.matmul(*place.stream, {.a = a.view(),
                                                   .b = b.view(),
                                                   .c = out.back().view(),
                                                   .transpose_a = transpose_a,
                                                   .transpose_b = transpose_b,
                                                   .accumulate = accumulate});
            }
            return place.get_all(out);
          });
        }
      }
    }
  }
}

TEST_F(CudaMatmul, AnEmptySumIsZero) {
  const std::vector<Tensor> out = on_device([&](Place& place) {
    const Buffer a = place.put(Tensor(DType::Bf16, {3, 0})), b = place.put(Tensor(DType::Bf16, {0, 5}));
    std::vector<Buffer> results;
    results.push_back(place.put(Tensor::filled(DType::Fp32, {3, 5}, 2)));
    results.push_back(place.put(Tensor::filled(DType::Fp32, {3, 5}, 2)));
    place.backend.matmul(*place.stream, {.a = a.view(), .b = b.view(), .c = results[0].view()});
    place.backend.matmul(*place.stream, {.a = a.view(), .b = b.view(), .c = results[1].view(), .accumulate = true});
    return place.get_all(results);
  });
  for (std::int64_t i = 0; i < 15; ++i) {
    EXPECT_EQ(out[0][i], 0);
    EXPECT_EQ(out[1][i], 2);
  }
}

}  // namespace
}  // namespace rondo::test

// SPDX-License-Identifier: Apache-2.0
// What cublasLt is told of a product, carried out by a plain loop over column-major matrices.
#include <gtest/gtest.h>

#include "kernels/cuda/matmul.hpp"
#include "kernels/reference/backend.hpp"
#include "tests/support/tensor.hpp"

namespace rondo::test {
namespace {

/// Element [row, column] of op(matrix), with `rows` as leading dimension.
double element(const Tensor& matrix, const cuda::ColumnMajorProduct::Operand& operand, std::int64_t row,
               std::int64_t column) {
  if (operand.is_transposed) std::swap(row, column);
  EXPECT_LT(row, operand.rows);
  EXPECT_LT(column, operand.columns);
  return matrix[row + column * operand.rows];
}

TEST(ColumnMajorProduct, IsTheRowMajorProductForEveryTransposition) {
  constexpr std::int64_t m = 3, n = 5, k = 7;
  Host host;
  const std::unique_ptr<Backend> reference = make_reference_backend(cpu_device());
  for (const auto transpose_a : {Transpose::No, Transpose::Yes}) {
    for (const auto transpose_b : {Transpose::No, Transpose::Yes}) {
      const Tensor a = Tensor::random(DType::Fp64, transpose_a == Transpose::Yes ? Shape{k, m} : Shape{m, k}, 1);
      const Tensor b = Tensor::random(DType::Fp64, transpose_b == Transpose::Yes ? Shape{n, k} : Shape{k, n}, 2);
      Tensor expected(DType::Fp64, {m, n}), c(DType::Fp64, {m, n});
      reference->matmul(*host.stream,
                        {.a = a, .b = b, .c = expected, .transpose_a = transpose_a, .transpose_b = transpose_b});
      const cuda::ColumnMajorProduct product = cuda::column_major({.m = m, .n = n, .k = k}, transpose_a, transpose_b);
      for (std::int64_t row = 0; row < product.rows; ++row) {
        for (std::int64_t column = 0; column < product.columns; ++column) {
          double sum = 0;
          for (std::int64_t i = 0; i < product.depth; ++i) {
            sum += element(b, product.first, row, i) * element(a, product.second, i, column);
          }
          c.set(row + column * product.rows, sum);
        }
      }
      EXPECT_LT(max_difference(c, expected), 1e-14);  // seven products of numbers around 1, in another order
    }
  }
}

}  // namespace
}  // namespace rondo::test

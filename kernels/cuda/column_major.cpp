// SPDX-License-Identifier: Apache-2.0
// The part of matrix products that needs no GPU.
#include "kernels/cuda/matmul.hpp"

namespace rondo::cuda {

ColumnMajorProduct column_major(const MatmulSizes& sizes, Transpose transpose_a, Transpose transpose_b) {
  const auto [m, n, k] = sizes;
  const bool a_transposed = transpose_a == Transpose::Yes, b_transposed = transpose_b == Transpose::Yes;
  // A row-major [rows, columns] is a column-major [columns, rows]; a transposition that is asked for stays one.
  return {.first = {.rows = b_transposed ? k : n, .columns = b_transposed ? n : k, .is_transposed = b_transposed},
          .second = {.rows = a_transposed ? m : k, .columns = a_transposed ? k : m, .is_transposed = a_transposed},
          .rows = n,
          .columns = m,
          .depth = k};
}

}  // namespace rondo::cuda

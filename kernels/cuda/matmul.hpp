// SPDX-License-Identifier: Apache-2.0
// Matrix products by cublasLt. A plan (layouts and algorithm) is made once for each shape; all products share one
// workspace of fixed size, so they belong on one stream.
#pragma once

#include <memory>

#include "core/device.hpp"
#include "kernels/matmul.hpp"

namespace rondo::cuda {

/// The row-major product c = op(a) op(b) as cublasLt sees it, which counts columns first: a row-major matrix is the
/// transpose of a column-major one, so it computes c^T = op(b)^T op(a)^T, with b as the first operand.
struct ColumnMajorProduct {
  struct Operand {
    std::int64_t rows, columns;  // as stored, column by column; the leading dimension is `rows`
    bool is_transposed;
  };
  Operand first, second;              // b and a
  std::int64_t rows, columns, depth;  // of the result [n, m], and the length of its sums
};

ColumnMajorProduct column_major(const MatmulSizes& sizes, Transpose transpose_a, Transpose transpose_b);

class Matmul {
 public:
  static constexpr std::size_t kWorkspaceBytes = std::size_t{32} << 20;

  /// @pre the device is a GPU, current on the calling thread, and outlives this
  explicit Matmul(Device& device);
  ~Matmul();

  void operator()(Stream& stream, const MatmulArgs& args);

 private:
  class Plans;

  Device& device_;
  Buffer workspace_;
  std::unique_ptr<Plans> plans_;
};

}  // namespace rondo::cuda

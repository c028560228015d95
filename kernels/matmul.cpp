// SPDX-License-Identifier: Apache-2.0
#include "kernels/matmul.hpp"

namespace rondo {

MatmulSizes check(const MatmulArgs& args) {
  ensure(args.a.shape.rank() == 2 && args.b.shape.rank() == 2, "a and b are matrices");
  const bool a_transposed = args.transpose_a == Transpose::Yes, b_transposed = args.transpose_b == Transpose::Yes;
  const MatmulSizes sizes{.m = args.a.shape[a_transposed ? 1 : 0],
                          .n = args.b.shape[b_transposed ? 0 : 1],
                          .k = args.a.shape[a_transposed ? 0 : 1]};
  expect_shape(args.a, a_transposed ? Shape{sizes.k, sizes.m} : Shape{sizes.m, sizes.k}, "a");
  expect_shape(args.b, b_transposed ? Shape{sizes.n, sizes.k} : Shape{sizes.k, sizes.n}, "b");
  expect_shape(args.c, {sizes.m, sizes.n}, "c [m, n]");
  expect_dtype(args.b, args.a.dtype, "b");
  if (args.c.dtype != args.a.dtype) expect_dtype(args.c, accumulator_of(args.a.dtype), "c");
  return sizes;
}

}  // namespace rondo

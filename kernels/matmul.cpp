// SPDX-License-Identifier: Apache-2.0
#include "kernels/matmul.hpp"

namespace rondo {

MatmulSizes check(const MatmulArgs& args) {
  ensure(args.a.shape.rank() == 2 && args.b.shape.rank() == 2, "a and b are matrices");
  const bool a_turned = args.transpose_a == Transpose::Yes, b_turned = args.transpose_b == Transpose::Yes;
  const MatmulSizes sizes{
      .m = args.a.shape[a_turned ? 1 : 0], .n = args.b.shape[b_turned ? 0 : 1], .k = args.a.shape[a_turned ? 0 : 1]};
  expect_shape(args.a, a_turned ? Shape{sizes.k, sizes.m} : Shape{sizes.m, sizes.k}, "a");
  expect_shape(args.b, b_turned ? Shape{sizes.n, sizes.k} : Shape{sizes.k, sizes.n}, "b");
  expect_shape(args.c, {sizes.m, sizes.n}, "c [m, n]");
  expect_dtype(args.b, args.a.dtype, "b");
  if (args.c.dtype != args.a.dtype) expect_dtype(args.c, accumulator_of(args.a.dtype), "c");
  return sizes;
}

}  // namespace rondo

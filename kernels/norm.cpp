// SPDX-License-Identifier: Apache-2.0
#include "kernels/norm.hpp"

namespace rondo {

void check(const RmsNormForwardArgs& args) {
  ensure(args.x.shape.rank() == 2, "x is [T, C]");
  expect_shape(args.x, args.x.shape, "x [T, C]");
  expect_shape(args.weight, {args.x.shape[1]}, "weight [C]");
  expect_dtype(args.weight, args.x.dtype, "weight");
  expect_shape(args.y, args.x.shape, "y [T, C]");
  expect_dtype(args.y, args.x.dtype, "y");
}

void check(const RmsNormBackwardArgs& args) {
  ensure(args.x.shape.rank() == 2, "x is [T, C]");
  expect_shape(args.x, args.x.shape, "x [T, C]");
  expect_shape(args.weight, {args.x.shape[1]}, "weight [C]");
  expect_dtype(args.weight, args.x.dtype, "weight");
  expect_shape(args.d_y, args.x.shape, "d_y [T, C]");
  expect_dtype(args.d_y, args.x.dtype, "d_y");
  expect_shape(args.d_x, args.x.shape, "d_x [T, C]");
  expect_dtype(args.d_x, args.x.dtype, "d_x");
  expect_shape(args.d_weight, {args.x.shape[1]}, "d_weight [C]");
  expect_dtype(args.d_weight, accumulator_of(args.x.dtype), "d_weight");
}

}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
#include "kernels/swiglu.hpp"

namespace rondo {

void check(const SwigluForwardArgs& args) {
  ensure(args.a.shape.rank() == 2, "a is [T, F]");
  expect_shape(args.a, args.a.shape, "a [T, F]");
  expect_shape(args.gate_up, {args.a.shape[0], 2 * args.a.shape[1]}, "gate_up [T, 2F]");
  expect_dtype(args.gate_up, args.a.dtype, "gate_up");
}

void check(const SwigluBackwardArgs& args) {
  ensure(args.d_a.shape.rank() == 2, "d_a is [T, F]");
  const Shape packed{args.d_a.shape[0], 2 * args.d_a.shape[1]};
  expect_shape(args.d_a, args.d_a.shape, "d_a [T, F]");
  expect_shape(args.gate_up, packed, "gate_up [T, 2F]");
  expect_dtype(args.gate_up, args.d_a.dtype, "gate_up");
  expect_shape(args.d_gate_up, packed, "d_gate_up [T, 2F]");
  expect_dtype(args.d_gate_up, args.d_a.dtype, "d_gate_up");
}

}  // namespace rondo

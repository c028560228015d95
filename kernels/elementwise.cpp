// SPDX-License-Identifier: Apache-2.0
#include "kernels/elementwise.hpp"

namespace rondo {

namespace {

bool is_floating(DType type) { return type == DType::Fp64 || type == DType::Fp32 || type == DType::Bf16; }
bool is_master(DType type) { return type == DType::Fp64 || type == DType::Fp32; }

}  // namespace

void check(const ConvertArgs& args) {
  expect_shape(args.to, args.from.shape, "to");
  ensure(is_floating(args.from.dtype) && is_floating(args.to.dtype), "convert is between floating-point types");
}

void check(const AddArgs& args) {
  expect_shape(args.to, args.from.shape, "to");
  ensure(is_floating(args.from.dtype) && is_floating(args.to.dtype), "add is between floating-point types");
}

void check(const SumArgs& args) {
  ensure(is_master(args.x.dtype), "sums are of fp64 or fp32");
  ensure(args.result != nullptr, "a sum has a place for its result");
}

void check(const AdamWArgs& args) {
  ensure(is_master(args.value.dtype), "master values are fp64 or fp32");
  for (const TensorView& other : {args.moment_1, args.moment_2, args.gradient}) {
    expect_shape(other, args.value.shape, "moments and gradient");
    expect_dtype(other, args.value.dtype, "moments and gradient");
  }
  if (args.compute_copy) {
    expect_shape(args.compute_copy, args.value.shape, "compute_copy");
    expect_dtype(args.compute_copy, DType::Bf16, "compute_copy");
  }
  ensure(args.step >= 1, "the first update is step 1");
}

}  // namespace rondo

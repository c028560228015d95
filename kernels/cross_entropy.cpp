// SPDX-License-Identifier: Apache-2.0
#include "kernels/cross_entropy.hpp"

namespace rondo {

void check(const CrossEntropyArgs& args) {
  ensure(args.logits.shape.rank() == 2, "logits are [T, V]");
  ensure(args.logits.dtype == DType::Fp64 || args.logits.dtype == DType::Fp32, "logits have an accumulator type");
  const std::int64_t tokens = args.logits.shape[0];
  expect_shape(args.targets, {tokens}, "targets [T]");
  expect_dtype(args.targets, DType::Int32, "targets");
  expect_shape(args.losses, {tokens}, "losses [T]");
  expect_dtype(args.losses, args.logits.dtype, "losses");
  if (args.d_logits) {
    expect_shape(args.d_logits, args.logits.shape, "d_logits [T, V]");
    expect_dtype(args.logits, accumulator_of(args.d_logits.dtype), "logits");
  }
}

}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
#include "kernels/embedding.hpp"

namespace rondo {

void check(const EmbeddingForwardArgs& args) {
  ensure(args.tokens.shape.rank() == 1 && args.table.shape.rank() == 2, "tokens are [T] and the table is [V, C]");
  expect_dtype(args.tokens, DType::Int32, "tokens");
  expect_shape(args.table, args.table.shape, "table [V, C]");
  expect_shape(args.out, {args.tokens.shape[0], args.table.shape[1]}, "out [T, C]");
  expect_dtype(args.out, args.table.dtype, "out");
}

void check(const EmbeddingBackwardArgs& args) {
  ensure(args.tokens.shape.rank() == 1 && args.d_table.shape.rank() == 2, "tokens are [T] and the table is [V, C]");
  expect_dtype(args.tokens, DType::Int32, "tokens");
  expect_shape(args.d_table, args.d_table.shape, "d_table [V, C]");
  expect_shape(args.d_out, {args.tokens.shape[0], args.d_table.shape[1]}, "d_out [T, C]");
  expect_dtype(args.d_table, accumulator_of(args.d_out.dtype), "d_table");
}

}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
// c = op(a) op(b), or c += op(a) op(b).
#pragma once

#include "core/arena.hpp"
#include "core/tensor_view.hpp"

namespace rondo {

enum class Transpose { No, Yes };

/// With m, n, k from the shapes: op(a) [m, k], op(b) [k, n], c [m, n].
/// a and b have the same storage type; c has it too, or its accumulator type. Sums are in the accumulator type.
struct MatmulArgs {
  TensorView a;  // [m, k], or [k, m] if transposed
  TensorView b;  // [k, n], or [n, k] if transposed
  TensorView c;  // [m, n]
  Transpose transpose_a = Transpose::No;
  Transpose transpose_b = Transpose::No;
  bool accumulate = false;  // c += instead of c =
};

struct MatmulSizes {
  std::int64_t m, n, k;
};

/// Throws an internal error if shapes or types do not match.
MatmulSizes check(const MatmulArgs& args);

}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
// RMSNorm (Zhang and Sennrich, arXiv 1910.07467): y = x / sqrt(mean(x^2) + epsilon) * weight.
#pragma once

#include "core/arena.hpp"
#include "core/tensor_view.hpp"

namespace rondo {

/// Sums and the reciprocal root are in the accumulator type.
struct RmsNormForwardArgs {
  TensorView x;       // [T, C]
  TensorView weight;  // [C]
  TensorView y;       // [T, C]
  double epsilon;
};

/// d_x += gradient, d_weight += gradient; the reciprocal root is recomputed from x.
struct RmsNormBackwardArgs {
  TensorView d_y;       // [T, C]
  TensorView x;         // [T, C]
  TensorView weight;    // [C]
  TensorView d_x;       // [T, C] storage type
  TensorView d_weight;  // [C] accumulator type
  double epsilon;
  Arena& scratch;
};

void check(const RmsNormForwardArgs& args);
void check(const RmsNormBackwardArgs& args);

}  // namespace rondo

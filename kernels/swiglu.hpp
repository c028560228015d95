// SPDX-License-Identifier: Apache-2.0
// SwiGLU (Shazeer, arXiv 2002.05202): a = silu(gate) * up, with gate and up packed side by side.
#pragma once

#include "core/tensor_view.hpp"

namespace rondo {

struct SwigluForwardArgs {
  TensorView gate_up;  // [T, 2F]: F gate columns, then F up columns
  TensorView a;        // [T, F]
};

/// d_gate_up = gradient (overwritten).
struct SwigluBackwardArgs {
  TensorView gate_up;    // [T, 2F]
  TensorView d_a;        // [T, F]
  TensorView d_gate_up;  // [T, 2F]
};

void check(const SwigluForwardArgs& args);
void check(const SwigluBackwardArgs& args);

}  // namespace rondo

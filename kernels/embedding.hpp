// SPDX-License-Identifier: Apache-2.0
// Embedding lookup and its gradient.
#pragma once

#include "core/tensor_view.hpp"

namespace rondo {

/// out[t] = table[tokens[t]]
struct EmbeddingForwardArgs {
  TensorView tokens;  // [T] int32, each in [0, V)
  TensorView table;   // [V, C]
  TensorView out;     // [T, C]
};

/// d_table[tokens[t]] += d_out[t], in the order of t: deterministic.
struct EmbeddingBackwardArgs {
  TensorView tokens;   // [T] int32
  TensorView d_out;    // [T, C]
  TensorView d_table;  // [V, C] accumulator type
};

void check(const EmbeddingForwardArgs& args);
void check(const EmbeddingBackwardArgs& args);

}  // namespace rondo

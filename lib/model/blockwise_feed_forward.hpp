// SPDX-License-Identifier: Apache-2.0
// The feed-forward half of a block, one chunk of tokens at a time (Blockwise Parallel Transformer, arXiv 2305.19370): tensors
// with d_ff columns exist for one chunk only, and backward recomputes each chunk.
#pragma once

#include <algorithm>

#include "model/parameter_set.hpp"

namespace rondo {

class BlockwiseFeedForward {
 public:
  BlockwiseFeedForward(Execution& execution, const TransformerShape& shape) : execution_(execution), shape_(shape) {}

  /// x += down(swiglu(gate_up(norm(x)))), x [T, C].
  void forward(const LayerWeights& weights, const TensorView& x);
  /// d_x: in, the gradient of forward's output; out, the gradient of x. x [T, C] is the input of forward.
  void backward(const LayerWeights& weights, const TensorView& x, const TensorView& d_x);

 private:
  /// The intermediate tensors of one chunk, in scratch.
  struct Chunk {
    TensorView normed;   // [Tc, C]
    TensorView gate_up;  // [Tc, 2F]
    TensorView a;        // [Tc, F]
  };
  Chunk compute(const LayerWeights& weights, const TensorView& x);

  Execution& execution_;
  TransformerShape shape_;
};

/// Calls action(first, count) for chunks of at most `chunk` of `total` tokens.
template <typename Action> void for_each_chunk(std::int64_t total, std::int64_t chunk, Action action) {
  for (std::int64_t first = 0; first < total; first += chunk) action(first, std::min(chunk, total - first));
}

}  // namespace rondo

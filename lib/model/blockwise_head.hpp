// SPDX-License-Identifier: Apache-2.0
// Final norm, vocabulary head and cross-entropy, one chunk of tokens at a time, with the gradient computed in the same pass:
// logits exist for one chunk only.
#pragma once

#include "model/parameter_set.hpp"

namespace rondo {

class BlockwiseHead {
 public:
  BlockwiseHead(Execution& execution, const TransformerShape& shape)
      : execution_(execution), shape_(shape), chunks_(execution.device, MemoryUse::HeadChunk) {}

  /// losses[t] = cross-entropy of token t in nats (accumulator type), 0 where there is no target.
  /// If d_x [T, C] is given, it is set to the gradient of the summed losses, and the weights' gradients are added.
  void losses(const OuterWeights& weights, const TensorView& x, const TensorView& targets, const TensorView& losses,
              const TensorView& d_x);
  /// Logits [T, V] (accumulator type) of a few tokens, for generation.
  void logits(const OuterWeights& weights, const TensorView& x, const TensorView& logits);

 private:
  Execution& execution_;
  TransformerShape shape_;
  Arena chunks_;
};

}  // namespace rondo

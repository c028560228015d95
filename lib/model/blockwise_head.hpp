// SPDX-License-Identifier: Apache-2.0
// Final norm, vocabulary head and cross-entropy, token chunk by token chunk with the gradient taken on the
// way: logits exist for one chunk only.
#pragma once

#include "model/parameter_set.hpp"

namespace rondo {

class BlockwiseHead {
 public:
  BlockwiseHead(Execution& execution, const TransformerShape& shape)
      : execution_(execution), shape_(shape), chunks_(execution.device, MemoryUse::HeadChunk) {}

  /// losses[t] = cross-entropy of token t in nats (accumulator type), 0 where there is no target.
  /// If d_x is given [T, C]: d_x = gradient of the sum of the losses, and gradients of the weights are added.
  void losses(const OuterWeights& weights, const TensorView& x, const TensorView& targets, const TensorView& losses,
              const TensorView& d_x);
  /// logits [T, V] (accumulator type) of a few tokens, for generation.
  void logits(const OuterWeights& weights, const TensorView& x, const TensorView& logits);

 private:
  Execution& execution_;
  TransformerShape shape_;
  Arena chunks_;
};

}  // namespace rondo

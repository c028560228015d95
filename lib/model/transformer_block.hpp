// SPDX-License-Identifier: Apache-2.0
// One block of the LLaMA architecture: x += attention(norm(x)), x += feed_forward(norm(x)). The caller loops over spans.
#pragma once

#include "model/activations.hpp"
#include "model/attention_layer.hpp"
#include "model/blockwise_feed_forward.hpp"
#include "model/parameter_set.hpp"

namespace rondo {

class TransformerBlock {
 public:
  TransformerBlock(Execution& execution, const TransformerShape& shape, std::int64_t layer, AttentionLayer& attention)
      : execution_(execution), shape_(shape), layer_(layer), attention_(attention), feed_forward_(execution, shape) {}

  /// Updates x [T, C] in place. `activations` is null if no backward follows.
  void forward(const Span& span, const ParameterSet& parameters, const TensorView& x, SequenceFlow state,
               Activations* activations);
  /// Updates d_x [T, C] in place and adds the weights' gradients to their sinks. d_state as in AttentionGradients.
  void backward(const Span& span, const ParameterSet& parameters, const TensorView& d_x, SequenceGradient state,
                Activations& activations);

 private:
  /// What backward needs from the attention half, kept or recomputed.
  struct Rematerialized {
    TensorView x;       // [T, C] input
    TensorView normed;  // [T, C]
    TensorView qkv;     // [T, (N+2G)*D]
    const AttentionTape* attention;
    TensorView middle;  // [T, C] x + attention
  };
  Rematerialized rematerialize(const Span& span, const LayerWeights& weights, const LayerState* before,
                               Activations& activations);
  /// The state of this layer.
  LayerState* of(const SequenceState* state) const {
    return state != nullptr ? state->of(static_cast<std::size_t>(layer_)) : nullptr;
  }
  void project_in(const LayerWeights& weights, const TensorView& x, const TensorView& normed, const TensorView& qkv);
  void add_attention(const LayerWeights& weights, const AttentionTape& tape, const TensorView& x);

  Execution& execution_;
  TransformerShape shape_;
  std::int64_t layer_;
  AttentionLayer& attention_;
  BlockwiseFeedForward feed_forward_;
};

}  // namespace rondo

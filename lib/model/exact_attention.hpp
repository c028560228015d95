// SPDX-License-Identifier: Apache-2.0
// Exact attention: RoPE, then ring attention, or attention to a key/value cache on one rank if there is a state.
#pragma once

#include <memory>
#include <vector>

#include "model/attention_layer.hpp"
#include "model/ring_attention.hpp"
#include "model/transformer_shape.hpp"

namespace rondo {

class ExactAttention final : public AttentionLayer {
 public:
  ExactAttention(Execution& execution, const TransformerShape& shape, DType compute);

  const AttentionTape& forward(const AttentionInput& in, LayerState* after, const LayerActivations& kept) override;
  const AttentionTape& rematerialize(const AttentionInput& in, const LayerActivations& kept) override;
  void backward(const AttentionInput& in, const AttentionTape& tape, const AttentionGradients& gradients) override;

  AttentionMaskView mask(const Span& span) const override { return span.mask(); }
  std::unique_ptr<LayerState> make_state(std::int64_t capacity_tokens) override;
  std::unique_ptr<LayerState> make_state_gradient(std::int64_t) override { return nullptr; }

 private:
  struct Tape final : AttentionTape {
    SoftmaxCarry carry;  // final: over the keys of all ranks
  };
  struct Rotated {
    TensorView q;  // [T, N, D]
    KeyValue kv;   // [T, G, D] each
  };
  Rotated split(const TokenRuns& positions, const TensorView& qkv);
  const AttentionTape& fill_tape(const SoftmaxCarry& carry);
  void forward_cached(const AttentionInput& in, LayerState& state, const SoftmaxCarry& carry);

  Execution& execution_;
  TransformerShape shape_;
  DType compute_;
  double scale_;
  RingAttention ring_attention_;
  std::vector<double> inverse_frequencies_;
  Tape tape_;
};

}  // namespace rondo

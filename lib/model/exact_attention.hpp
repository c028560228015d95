// SPDX-License-Identifier: Apache-2.0
// Exact attention: rotary positions, then the ring; with a state, one rank's key/value cache.
#pragma once

#include <memory>
#include <vector>

#include "model/attention_layer.hpp"
#include "model/ring_attention.hpp"
#include "model/transformer_shape.hpp"

namespace rondo {

class ExactAttention final : public AttentionLayer {
 public:
  ExactAttention(Execution& execution, RingAttention& ring_attention, const TransformerShape& shape, DType compute);

  AttentionTape forward(const Span& span, const LayerWeights& w, const TensorView& qkv, StateFlow state,
                        const LayerActivations& kept) override;
  AttentionTape rematerialize(const Span& span, const LayerWeights& w, const TensorView& qkv, const LayerState* before,
                              const LayerActivations& kept) override;
  void backward(const Span& span, const LayerWeights& w, const TensorView& qkv, const AttentionTape& tape,
                const LayerState* before, LayerState* d_state, const TensorView& d_out,
                const TensorView& d_qkv) override;
  std::unique_ptr<LayerState> make_state(std::int64_t capacity_tokens) override;
  std::unique_ptr<LayerState> make_state_gradient(std::int64_t) override { return nullptr; }

 private:
  struct Turned {
    TensorView q;  // [T, N, D]
    KeyValue kv;   // [T, G, D] each
  };
  Turned split(const TokenRuns& positions, const TensorView& qkv);
  AttentionTape with_heads_out(const SoftmaxCarry& carry);
  void forward_cached(const Span& span, const TensorView& qkv, LayerState& state, const SoftmaxCarry& carry);

  Execution& execution_;
  RingAttention& ring_attention_;
  TransformerShape shape_;
  DType compute_;
  std::vector<double> inverse_frequencies_;
};

}  // namespace rondo

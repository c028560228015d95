// SPDX-License-Identifier: Apache-2.0
// Infini-attention (Munkhdalai et al., arXiv 2404.07143): exact attention to the segments of a window, a read of the
// compressive memory for everything older, and a gate per head that mixes both. The memory uses q and k before RoPE.
#pragma once

#include <memory>
#include <vector>

#include "model/attention_layer.hpp"
#include "model/compressive_memory.hpp"
#include "model/key_halo.hpp"
#include "model/transformer_shape.hpp"

namespace rondo {

/// What an observer of a layer receives: sigma(q) z [N, T], 0 where nothing is read; M [G, D, D] after the span.
inline constexpr std::string_view kReadNormaliser = "read_normaliser", kMemory = "memory";

class InfiniAttention final : public AttentionLayer {
 public:
  InfiniAttention(Execution& execution, const TransformerShape& shape, DType compute);

  const AttentionTape& forward(const AttentionInput& in, LayerState* after, const LayerActivations& kept) override;
  const AttentionTape& rematerialize(const AttentionInput& in, const LayerActivations& kept) override;
  void backward(const AttentionInput& in, const AttentionTape& tape, const AttentionGradients& gradients) override;

  AttentionMaskView mask(const Span& span) const override { return span.mask(shape_.segments.mask_rule()); }
  std::unique_ptr<LayerState> make_state(std::int64_t capacity_tokens) override;
  std::unique_ptr<LayerState> make_state_gradient(std::int64_t capacity_tokens) override;

 private:
  /// A rank's queries [T, N, D] before and after RoPE, and all keys and values [U, G, D] of their window; or their gradients.
  struct Window {
    TensorView q, q_rotated;
    KeyRows keys;
  };
  struct Tape final : AttentionTape {
    SoftmaxCarry carry;  // final: over the keys of the window
    Window window;
    MemoryRead read;
    MemoryBefore before;
  };

  const MemoryChain& chain_of(const Span& span) const { return span.plan<MemoryChain>(shape_.segments.mask_rule()); }
  KeyHalo halo_of(const Span& span) const { return {execution_, span, chain_of(span), inverse_frequencies_}; }
  MemoryTokens memory_tokens(const Span& span, const Window& window) const {
    return {chain_of(span), window.q, window.keys.k, window.keys.v};
  }
  Window split(const AttentionInput& in);
  void join(const Span& span, const Window& d, const TensorView& d_qkv);
  void attend(const Span& span, CompressiveMemory& memory);
  void attend_backward(const Span& span, const TensorView& d_local, const Window& d, CompressiveMemory& memory);
  void mix(const LayerWeights& w);
  MemoryRead take_read(std::int64_t tokens);
  TensorView take_zeros(const Shape& shape);
  std::unique_ptr<LayerState> make_state_of(DType dtype, std::int64_t capacity_tokens);

  Execution& execution_;
  TransformerShape shape_;
  DType compute_;
  double scale_;
  std::vector<double> inverse_frequencies_;
  Tape tape_;
};

}  // namespace rondo

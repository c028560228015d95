// SPDX-License-Identifier: Apache-2.0
// Infini-attention (Munkhdalai et al., arXiv 2404.07143): exact attention to the segments in sight, a read of the compressive
// memory for all that is older, and a gate a head that mixes the two. Queries and keys of the memory are not turned.
#pragma once

#include <memory>
#include <vector>

#include "model/attention_layer.hpp"
#include "model/infini_state.hpp"
#include "model/transformer_shape.hpp"

namespace rondo {

/// What layers of Infini-attention show to an observer: sigma(q) z [N, T], 0 where nothing is read; M [G, D, D] after the span.
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
  struct Tape final : AttentionTape {
    SoftmaxCarry carry;  // final, of the keys in the window
    Sight sight;
    MemoryRead read;
    MemoryBefore before;
  };
  const MemoryChain& chain_of(const Span& span) const { return span.plan<MemoryChain>(shape_.segments.mask_rule()); }
  std::unique_ptr<LayerState> make_state_of(DType dtype, std::int64_t capacity_tokens);

  Sight split(const Span& span, const TensorView& qkv, const InfiniState* before);
  /// What the next span will see of this one and of what came before it.
  void carry_on(const Span& span, const Sight& sight, const InfiniState* before, InfiniState& after);
  /// The same backwards: d += gradients of what was carried on; d_state becomes the gradient of what came before the span.
  void carry_back(const Span& span, const Sight& d, const InfiniState* before, InfiniState& d_state);
  void attend(const Span& span, const Sight& sight, const SoftmaxCarry& carry);
  TensorView mix(const LayerWeights& w, const Tape& tape);
  MemoryTokens tokens_of(const Span& span, const Sight& sight) const {
    return {chain_of(span), sight.q, sight.keys.k, sight.keys.v};
  }

  KeyRows take_keys(std::int64_t count, DType dtype);
  void copy(const KeyRows& from, const KeyRows& to);
  /// to += from
  void add(const KeyRows& from, const KeyRows& to);

  /// keys [U, G, D] with the rows of this rank's own [T, G, D] in their places, and back.
  TensorView among_all(const Span& span, const TensorView& own);
  TensorView own_of(const Span& span, const TensorView& all);
  /// turned [rows, G, D] = the rotary turn of k, rows of keys of consecutive positions; and the transposed map, added to d_k.
  void turn(const TensorView& k, const TensorView& turned, std::int64_t first_position);
  void turn_back(const TensorView& d_turned, const TensorView& d_k, std::int64_t first_position);
  /// Rows that other ranks need go there, and come from there: keys and values, w N (d_k + d_v) numbers a key head where a rank's
  /// queries see w segments of N tokens before its own. What is turned is turned again here.
  void exchange_keys(const MemoryChain& chain, const KeyRows& keys);
  /// The other way round: gradients of borrowed rows go home and are added.
  void return_gradients(const MemoryChain& chain, const KeyRows& gradients);

  Execution& execution_;
  TransformerShape shape_;
  DType compute_;
  double scale_;
  std::vector<double> inverse_frequencies_;
  CompressiveMemory memory_;
  Tape tape_;
};

}  // namespace rondo

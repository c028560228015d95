// SPDX-License-Identifier: Apache-2.0
// The LLaMA transformer over one span of a sequence: embedding, blocks, head and loss, with hand-written gradients.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "model/attention_layer.hpp"
#include "model/blockwise_head.hpp"
#include "model/transformer_block.hpp"

namespace rondo {

/// This rank's tokens of a span and their targets, in local order, on the device.
struct TokenBatch {
  TensorView tokens;   // [T] int32
  TensorView targets;  // [T] int32, CrossEntropyArgs::kNoTarget where there is none
};

class Transformer {
 public:
  Transformer(Execution& execution, const TransformerShape& shape, ParameterSet& parameters, ActivationPolicy policy);

  /// Adds the gradient of the summed loss to the parameters' sinks and writes each token's loss, [T] accumulator type.
  /// @param before  the state before the span; null: there is no earlier span  @param d_state  as in AttentionGradients
  void forward_backward(const Span& span, const TokenBatch& batch, const TensorView& losses,
                        const SequenceState* before = nullptr, SequenceState* d_state = nullptr);
  /// Each token's loss in nats, without gradients. losses [T] accumulator type.
  void evaluate(const Span& span, const TokenBatch& batch, const TensorView& losses, SequenceFlow state = {});
  /// Computes only the state after the span.
  void advance(const Span& span, const TensorView& tokens, SequenceFlow state);
  /// Logits [V] (accumulator type) of the token after the span's last one; advances the state over the span.
  /// @pre this rank owns the last token
  void next_logits(const Span& span, const TensorView& tokens, SequenceState& state, const TensorView& logits);
  /// An empty state. @param capacity_tokens the most tokens that all spans of a sequence have together
  SequenceState make_state(std::int64_t capacity_tokens);
  /// The gradient of a state, set to 0. @pre every layer has a memory; a model with exact layers is trained in one span
  SequenceState make_state_gradient(std::int64_t capacity_tokens);

  /// Runs forward and calls look(name, x) with the residual stream [T, C] after the embedding and after each block, so that the
  /// caller can find where non-finite numbers begin.
  void inspect(const Span& span, const TensorView& tokens, SequenceFlow state,
               const std::function<void(const std::string& name, const TensorView& x)>& look);

  /// Calls the observer for the attention of every layer in every forward pass from now on; null: none.
  void watch(AttentionObserver* observer);
  /// The number of (query, key) pairs that attend, over this rank's queries; the mean over the layers.
  double attended_pairs(const Span& span) const;

  const TransformerShape& shape() const { return shape_; }
  DType compute_dtype() const { return parameters_.compute_dtype(); }

 private:
  AttentionLayer& attention_of(std::int64_t layer) const;
  TensorView forward(const Span& span, const TensorView& tokens, SequenceFlow state, Activations* activations);
  void embed(const TensorView& tokens, const TensorView& x);

  Execution& execution_;
  TransformerShape shape_;
  ParameterSet& parameters_;
  std::map<LayerAttention, std::unique_ptr<AttentionLayer>> attention_;  // one of each kind serves all layers
  std::vector<TransformerBlock> blocks_;
  BlockwiseHead head_;
  Activations activations_;
};

}  // namespace rondo

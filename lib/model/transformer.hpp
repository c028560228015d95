// SPDX-License-Identifier: Apache-2.0
// The LLaMA transformer over one span of a sequence: embedding, blocks, head and loss; gradients by hand
// beside.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "model/attention_layer.hpp"
#include "model/blockwise_head.hpp"
#include "model/transformer_block.hpp"

namespace rondo {

/// This rank's tokens of a span and what follows each, in local order, on the device.
struct TokenBatch {
  TensorView tokens;   // [T] int32
  TensorView targets;  // [T] int32, CrossEntropyArgs::kNoTarget where there is none
};

class Transformer {
 public:
  Transformer(Execution& execution, const TransformerShape& shape, ParameterSet& parameters, ActivationPolicy policy);

  /// Adds the gradient of the summed loss to the parameters' sinks and writes each token's loss. [T]
  /// accumulator type.
  /// @param before   what came before the span; null: nothing  @param d_state  as in AttentionGradients
  void forward_backward(const Span& span, const TokenBatch& batch, const TensorView& losses,
                        const SequenceState* before = nullptr, SequenceState* d_state = nullptr);
  /// Each token's loss in nats, without gradients. losses [T] accumulator type.
  void evaluate(const Span& span, const TokenBatch& batch, const TensorView& losses, SequenceFlow state = {});
  /// The state after the span, and nothing else.
  void advance(const Span& span, const TensorView& tokens, SequenceFlow state);
  /// Logits [V] (accumulator type) of what follows the span's last token; the state goes over the span.
  /// @pre the last token is this rank's
  void next_logits(const Span& span, const TensorView& tokens, SequenceState& state, const TensorView& logits);
  /// An empty state. @param capacity_tokens the most tokens that all spans together will have
  SequenceState make_state(std::int64_t capacity_tokens);
  /// A gradient of 0. @pre every layer has a memory: others are trained in one span
  SequenceState make_state_gradient(std::int64_t capacity_tokens);

  /// Runs forward and calls look(name, x) with the residual stream [T, C] after the embedding and after each
  /// block: finds where non-finite numbers begin.
  void inspect(const Span& span, const TensorView& tokens, SequenceFlow state,
               const std::function<void(const std::string& name, const TensorView& x)>& look);

  /// Shows it the attention of all layers in every forward pass from now on; null: no more.
  void watch(AttentionObserver* observer);
  /// (query, key) pairs that attend, of this rank's queries, in the mean over the layers.
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

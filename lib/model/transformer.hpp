// SPDX-License-Identifier: Apache-2.0
// The LLaMA transformer over one span of a sequence: embedding, blocks, head and loss; gradients by hand
// beside.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "model/blockwise_head.hpp"
#include "model/exact_attention.hpp"
#include "model/infini_attention.hpp"
#include "model/transformer_block.hpp"

namespace rondo {

/// This rank's tokens of a span and what follows each, in local order, on the device.
struct TokenBatch {
  TensorView tokens;   // [T] int32
  TensorView targets;  // [T] int32, CrossEntropyArgs::kNoTarget where there is none
};

/// What every layer carries from span to span, in order of the layers.
using SequenceState = std::vector<std::unique_ptr<LayerState>>;

/// (query, key) pairs that attend, of this rank's queries, in the mean over the layers.
double attended_pairs(const TransformerShape& shape, const Span& span);

class Transformer {
 public:
  Transformer(Execution& execution, const TransformerShape& shape, ParameterSet& parameters, ActivationPolicy policy);

  /// Adds the gradient of the summed loss to the parameters' sinks and writes each token's loss. [T]
  /// accumulator type.
  void forward_backward(const Span& span, const TokenBatch& batch, const TensorView& losses);
  /// Each token's loss in nats, without gradients. losses [T] accumulator type.
  void evaluate(const Span& span, const TokenBatch& batch, const TensorView& losses);
  /// Logits [V] (accumulator type) of what follows the span's last token; the state grows by the span.
  void next_logits(const Span& span, const TensorView& tokens, SequenceState& state, const TensorView& logits);
  SequenceState make_state(std::int64_t capacity_tokens);

  /// Runs forward and calls look(name, x) with the residual stream [T, C] after the embedding and after each
  /// block: finds where non-finite numbers begin.
  void inspect(const Span& span, const TensorView& tokens,
               const std::function<void(const std::string& name, const TensorView& x)>& look);

  const TransformerShape& shape() const { return shape_; }
  DType compute_dtype() const { return parameters_.compute_dtype(); }

 private:
  AttentionLayer& attention_of(std::int64_t layer);
  TensorView forward(const Span& span, const TensorView& tokens, SequenceState* state, Activations* activations);
  void embed(const TensorView& tokens, const TensorView& x);

  Execution& execution_;
  TransformerShape shape_;
  ParameterSet& parameters_;
  RingAttention ring_attention_;
  ExactAttention exact_attention_;
  InfiniAttention infini_attention_;
  std::vector<TransformerBlock> blocks_;
  BlockwiseHead head_;
  Activations activations_;
};

}  // namespace rondo

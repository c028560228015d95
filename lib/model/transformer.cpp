// SPDX-License-Identifier: Apache-2.0
#include "model/transformer.hpp"

#include <string>

#include "core/trace.hpp"
#include "model/attention_factory.hpp"

namespace rondo {

Transformer::Transformer(Execution& execution, const TransformerShape& shape, ParameterSet& parameters,
                         ActivationPolicy policy)
    : execution_(execution),
      shape_(shape),
      parameters_(parameters),
      head_(execution, shape),
      activations_(execution.device, shape.layers, policy) {
  for (std::int64_t layer = 0; layer < shape.layers; ++layer) {
    std::unique_ptr<AttentionLayer>& attention = attention_[shape.attention_of(layer)];
    if (!attention) attention = make_attention(shape.attention_of(layer), execution, shape, compute_dtype());
    blocks_.emplace_back(execution, shape, layer, *attention);
  }
}

AttentionLayer& Transformer::attention_of(std::int64_t layer) const {
  return *attention_.at(shape_.attention_of(layer));
}

void Transformer::watch(AttentionObserver* observer) {
  for (const auto& [kind, attention] : attention_) attention->set_observer(observer);
}

double Transformer::attended_pairs(const Span& span) const {
  double pairs = 0;
  for (const auto& [kind, attention] : attention_) {
    std::int64_t layers = 0;
    for (std::int64_t layer = 0; layer < shape_.layers; ++layer) layers += shape_.attention_of(layer) == kind ? 1 : 0;
    pairs += static_cast<double>(layers) * span.attended_pairs(attention->mask(span));
  }
  return pairs / static_cast<double>(shape_.layers);
}

void Transformer::embed(const TensorView& tokens, const TensorView& x) {
  const OuterWeights outer = parameters_.acquire_outer();
  execution_.backend.embedding_forward(execution_.compute, {tokens, outer.embedding.value, x});
}

// The residual stream [T, C] after the last block, in scratch of the caller's scope.
TensorView Transformer::forward(const Span& span, const TensorView& tokens, SequenceFlow state,
                                Activations* activations) {
  const TensorView x = execution_.scratch.take(parameters_.compute_dtype(), {span.num_tokens(), shape_.d_model});
  embed(tokens, x);
  for (TransformerBlock& block : blocks_) block.forward(span, parameters_, x, state, activations);
  return x;
}

void Transformer::forward_backward(const Span& span, const TokenBatch& batch, const TensorView& losses,
                                   const SequenceState* before, SequenceState* d_state) {
  TraceScope trace("transformer.forward_backward");
  Arena::Scope scope(execution_.scratch);
  const TensorView x = forward(span, batch.tokens, {before, nullptr}, &activations_);  // [T, C]
  const TensorView d_x = execution_.scratch.take(x.dtype, x.shape);                    // [T, C]
  const OuterWeights outer = parameters_.acquire_outer();
  head_.losses(outer, x, batch.targets, losses, d_x);
  for (std::size_t layer = blocks_.size(); layer-- > 0;) {
    blocks_[layer].backward(span, parameters_, d_x, {before, d_state}, activations_);
  }
  execution_.backend.embedding_backward(execution_.compute, {batch.tokens, d_x, outer.embedding.gradient});
}

void Transformer::evaluate(const Span& span, const TokenBatch& batch, const TensorView& losses, SequenceFlow state) {
  TraceScope trace("transformer.evaluate");
  Arena::Scope scope(execution_.scratch);
  const TensorView x = forward(span, batch.tokens, state, nullptr);
  head_.losses(parameters_.acquire_outer(), x, batch.targets, losses, {});
}

void Transformer::advance(const Span& span, const TensorView& tokens, SequenceFlow state) {
  TraceScope trace("transformer.advance");
  Arena::Scope scope(execution_.scratch);
  forward(span, tokens, state, nullptr);
}

void Transformer::next_logits(const Span& span, const TensorView& tokens, SequenceState& state,
                              const TensorView& logits) {
  Arena::Scope scope(execution_.scratch);
  const TensorView x = forward(span, tokens, {&state, &state}, nullptr);
  head_.logits(parameters_.acquire_outer(), x.rows(span.num_tokens() - 1, 1), logits.reshaped({1, shape_.vocabulary}));
}

SequenceState Transformer::make_state(std::int64_t capacity_tokens) {
  std::vector<std::unique_ptr<LayerState>> layers;
  for (std::int64_t layer = 0; layer < shape_.layers; ++layer) {
    layers.push_back(attention_of(layer).make_state(capacity_tokens));
  }
  return SequenceState(std::move(layers));
}

SequenceState Transformer::make_state_gradient(std::int64_t capacity_tokens) {
  std::vector<std::unique_ptr<LayerState>> layers;
  for (std::int64_t layer = 0; layer < shape_.layers; ++layer) {
    layers.push_back(attention_of(layer).make_state_gradient(capacity_tokens));
    ensure(layers.back() != nullptr, "every layer can be trained in several spans");
  }
  return SequenceState(std::move(layers));
}

void Transformer::inspect(const Span& span, const TensorView& tokens, SequenceFlow state,
                          const std::function<void(const std::string&, const TensorView&)>& look) {
  Arena::Scope scope(execution_.scratch);
  const TensorView x = execution_.scratch.take(parameters_.compute_dtype(), {span.num_tokens(), shape_.d_model});
  embed(tokens, x);
  look("the embedding", x);
  for (std::size_t layer = 0; layer < blocks_.size(); ++layer) {
    blocks_[layer].forward(span, parameters_, x, state, nullptr);
    look("layer " + std::to_string(layer), x);
  }
}

}  // namespace rondo

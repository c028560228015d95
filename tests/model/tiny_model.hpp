// SPDX-License-Identifier: Apache-2.0
// Models of a few thousand parameters and the sequences for their tests. Parameters and tokens depend on names and global
// positions only, so the problem is the same for every number of ranks, layout and precision.
#pragma once

#include <cmath>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "core/random.hpp"
#include "model/transformer.hpp"
#include "tests/support/execution.hpp"
#include "tests/support/tensor.hpp"

namespace rondo::test {

struct ModelCase {
  std::string name;
  TransformerShape shape;
  std::int64_t tokens;
  AttentionMask::Rule rule;
  std::vector<std::int64_t> documents;  // offsets, empty: one document
  ActivationPolicy policy = ActivationPolicy::KeepAttention;
};

/// Two layers, two query heads per key head, chunks that do not divide the tokens.
inline TransformerShape tiny_shape() {
  return {.layers = 2,
          .d_model = 12,
          .heads = 4,
          .kv_heads = 2,
          .head_dim = 6,
          .d_ff = 16,
          .vocabulary = 11,
          .rope_scaling = {},
          .segments = {},
          .ffn_chunk_tokens = 7,
          .head_chunk_tokens = 5};
}

/// Cases that together cover documents, windows, head groups, tied embeddings, RoPE scaling and both activation policies.
inline std::vector<ModelCase> tiny_cases() {
  ModelCase documents{"documents", tiny_shape(), 37, {.causal = true}, {0, 9, 10, 25, 37}};
  ModelCase window{"window, tied", tiny_shape(), 29, {.causal = true, .window = 6}, {}};
  window.shape.tie_embeddings = true;
  window.policy = ActivationPolicy::KeepInputs;
  ModelCase both{"window over documents, 4 heads a key head, llama3",
                 tiny_shape(),
                 31,
                 {.causal = true, .window = 9},
                 {0, 17, 31}};
  both.shape.kv_heads = 1;
  both.shape.rope_scaling = {.kind = RopeScalingRule::Kind::Llama3,
                             .factor = 8,
                             .low_frequency_factor = 1,
                             .high_frequency_factor = 4,
                             .original_tokens = 32};
  ModelCase plain{"one head a key head, linear", tiny_shape(), 23, {.causal = true}, {}};
  plain.shape.kv_heads = 4;
  plain.shape.rope_scaling = {.kind = RopeScalingRule::Kind::Linear, .factor = 2};
  plain.policy = ActivationPolicy::KeepInputs;
  return {documents, window, both, plain};
}

/// Cases with a memory: every rule, windows, a ragged last segment, documents, and exact layers between.
inline std::vector<ModelCase> infini_cases() {
  std::vector<ModelCase> cases;
  const auto add = [&cases](std::string name, MemoryRule rule, std::int64_t window,
                            std::vector<std::int64_t> documents) {
    ModelCase c{
        std::move(name), tiny_shape(), 37, {.causal = true, .segment_tokens = 4, .window_segments = window}, {}};
    c.documents = std::move(documents);
    c.shape.attention = {LayerAttention::Infini};
    c.shape.segments = {.segment_tokens = 4, .window_segments = window, .memory_rule = rule};
    cases.push_back(std::move(c));
  };
  add("linear", MemoryRule::Linear, 0, {});
  add("linear, window 1, documents", MemoryRule::Linear, 1, {0, 9, 10, 25, 37});
  add("delta", MemoryRule::Delta, 0, {});
  add("delta, window 3", MemoryRule::Delta, 3, {});
  add("delta, documents", MemoryRule::Delta, 0, {0, 17, 37});
  add("corrected", MemoryRule::DeltaCorrected, 0, {});
  add("corrected, window 1, documents", MemoryRule::DeltaCorrected, 1, {0, 6, 37});
  cases[1].policy = ActivationPolicy::KeepInputs;
  ModelCase mixed = cases[3];
  mixed.name = "exact and infini";
  mixed.shape.attention = {LayerAttention::Exact, LayerAttention::Infini};
  mixed.shape.layers = 3;  // the list of attention kinds repeats
  cases.push_back(mixed);
  return cases;
}

/// The tokens of the whole sequence.
inline std::vector<std::int32_t> tokens_of(const ModelCase& c) {
  const CounterRandom random(3, stream_of("tokens"));
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(c.tokens));
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    tokens[i] = static_cast<std::int32_t>(random.bits(i) % static_cast<std::uint64_t>(c.shape.vocabulary));
  }
  return tokens;
}

/// The target of each token; the last token of a document has none.
inline std::vector<std::int32_t> targets_of(const std::vector<std::int32_t>& tokens,
                                            const std::vector<std::int64_t>& documents) {
  std::vector<std::int32_t> targets(tokens.begin() + 1, tokens.end());
  targets.push_back(CrossEntropyArgs::kNoTarget);
  for (const std::int64_t offset : documents) {
    if (offset > 0) targets[static_cast<std::size_t>(offset - 1)] = CrossEntropyArgs::kNoTarget;
  }
  return targets;
}

/// This rank's part of a model on a sequence.
class TinyModel {
 public:
  TinyModel(Execution& execution, const ModelCase& c, LayoutKind layout, DType compute)
      : execution_(execution),
        documents_(c.documents),
        span_(SequenceLayout(c.tokens, execution.ring.size(), layout), c.rule, execution.ring.rank(), documents_),
        parameters_(execution, c.shape, compute),
        model_(execution, c.shape, parameters_, c.policy),
        tokens_(DType::Int32, {span_.num_tokens()}),
        targets_(DType::Int32, {span_.num_tokens()}),
        losses_(accumulator_of(compute), {span_.num_tokens()}) {
    const std::vector<std::int32_t> tokens = tokens_of(c);
    set_tokens(tokens, targets_of(tokens, c.documents));
    set_parameters();
  }

  /// @param tokens, targets of the whole sequence
  void set_tokens(const std::vector<std::int32_t>& tokens, const std::vector<std::int32_t>& targets) {
    for (std::int64_t t = 0; t < span_.num_tokens(); ++t) {
      const auto position = static_cast<std::size_t>(span_.runs().global_of(t));
      tokens_.set(t, tokens[position]);
      targets_.set(t, targets[position]);
    }
  }

  /// The summed loss of this rank's tokens.
  double evaluate() {
    model_.evaluate(span_, batch(), losses_);
    return sum_of_losses();
  }
  /// As evaluate(), and computes the gradients of the loss summed over all ranks.
  double forward_backward() {
    parameters_.zero_gradients();
    add_gradients();
    execution_.ring.transport.all_reduce(execution_.compute, parameters_.all_gradients(), execution_.scratch);
    return sum_of_losses();
  }
  /// Adds this rank's gradients to the present ones.
  void add_gradients() { model_.forward_backward(span_, batch(), losses_); }

  const Span& span() const { return span_; }
  ParameterSet& parameters() { return parameters_; }
  Transformer& model() { return model_; }
  const Tensor& tokens() const { return tokens_; }
  const Tensor& losses() const { return losses_; }

 private:
  TokenBatch batch() const { return {tokens_, targets_}; }
  double sum_of_losses() const {
    double sum = 0;
    for (std::int64_t t = 0; t < losses_.count(); ++t) sum += losses_[t];
    return sum;
  }
  // Values far larger than in training, so that every term of every gradient matters; all are exact in bf16.
  void set_parameters() {
    for (const Parameter& parameter : parameters_.parameters()) {
      const CounterRandom random(5, stream_of(parameter.name));
      const Shape& shape = parameter.value.shape;
      const bool is_norm = shape.rank() == 1;
      const double deviation = is_norm ? 0.3 : 1.4 / std::sqrt(static_cast<double>(shape[1]));
      for (std::int64_t i = 0; i < parameter.value.count(); ++i) {
        const double normal = random.normal(static_cast<std::uint64_t>(i));
        const auto value = static_cast<float>(bf16(static_cast<float>((is_norm ? 1.0 : 0.0) + deviation * normal)));
        if (parameter.value.dtype == DType::Fp64) {
          parameter.value.as<double>()[i] = static_cast<double>(value);
        } else {
          parameter.value.as<float>()[i] = value;
        }
      }
    }
    parameters_.refresh_compute_copies();
  }

  Execution& execution_;
  std::vector<std::int64_t> documents_;
  Span span_;
  ParameterSet parameters_;
  Transformer model_;
  Tensor tokens_, targets_, losses_;
};

/// A copy of a view, as a test tensor.
inline Tensor copy_of(const TensorView& view) {
  Tensor copy(view.dtype, view.shape);
  std::memcpy(copy.view().data, view.data, view.size_bytes());
  return copy;
}

}  // namespace rondo::test

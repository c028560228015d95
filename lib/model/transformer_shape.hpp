// SPDX-License-Identifier: Apache-2.0
// The sizes and constants of a LLaMA transformer, in the letters of docs/notation.md.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "config/model_config.hpp"
#include "core/attention_mask.hpp"
#include "kernels/compressive_memory.hpp"

namespace rondo {

/// RoPE scaling, with the formulas of Hugging Face transformers.
struct RopeScalingRule {
  enum class Kind { None, Linear, Llama3 };
  Kind kind = Kind::None;
  double factor = 1.0;
  double low_frequency_factor = 1.0;    // llama3
  double high_frequency_factor = 4.0;   // llama3
  std::int64_t original_tokens = 8192;  // llama3: the context length of the original training
};

/// The attention kind of a layer; the list is in config/model_config.hpp.
using LayerAttention = AttentionKind;

/// Segments and memory of Infini-attention, arXiv 2404.07143.
struct SegmentRule {
  std::int64_t segment_tokens = 0;   // 0: no layer has a memory
  std::int64_t window_segments = 0;  // segments before the query's own that it attends to exactly
  MemoryRule memory_rule = MemoryRule::Linear;
  double gate_initial = 0;  // sigmoid of it is the initial weight of what is read from memory

  /// Which keys a query attends to exactly.
  AttentionMask::Rule mask_rule() const {
    return {.causal = true, .segment_tokens = segment_tokens, .window_segments = window_segments};
  }
};

struct TransformerShape {
  std::int64_t layers;      // L
  std::int64_t d_model;     // C
  std::int64_t heads;       // N
  std::int64_t kv_heads;    // G
  std::int64_t head_dim;    // D
  std::int64_t d_ff;        // F
  std::int64_t vocabulary;  // V
  double rope_theta = 10000.0;
  RopeScalingRule rope_scaling;
  double norm_epsilon = 1e-5;
  bool tie_embeddings = false;
  std::vector<LayerAttention> attention{LayerAttention::Exact};  // repeated over the layers
  SegmentRule segments = {};
  std::int64_t ffn_chunk_tokens = 1024;
  std::int64_t head_chunk_tokens = 1024;

  std::int64_t qkv_columns() const { return (heads + 2 * kv_heads) * head_dim; }
  std::int64_t attention_columns() const { return heads * head_dim; }
  LayerAttention attention_of(std::int64_t layer) const {
    return attention[static_cast<std::size_t>(layer) % attention.size()];
  }
  bool has_memory(std::int64_t layer) const { return attention_of(layer) == LayerAttention::Infini; }
  bool has_exact_layers() const { return std::ranges::find(attention, LayerAttention::Exact) != attention.end(); }
};

/// RoPE's radians per token for pair i = 0 .. D/2-1: theta^(-2i/D), scaled by shape.rope_scaling.
std::vector<double> rope_inverse_frequencies(const TransformerShape& shape);

/// FLOPs of one forward and backward pass, without recomputation: 6 per matrix weight and token, 12 N D per layer
/// and attending (query, key) pair, and 6 (N + G) D^2 per memory and token. @param attended_pairs  the mean over the layers
double model_flops(const TransformerShape& shape, double tokens, double attended_pairs);

std::int64_t num_parameters(const TransformerShape& shape);

}  // namespace rondo

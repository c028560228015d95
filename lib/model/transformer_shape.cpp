// SPDX-License-Identifier: Apache-2.0
#include "model/transformer_shape.hpp"

#include <cmath>
#include <numbers>

namespace rondo {

namespace {

// Frequencies whose wavelength exceeds original_tokens / low_frequency_factor are divided by the factor, short wavelengths are
// kept, and those between are interpolated (Llama 3.1; transformers, modeling_rope_utils.py).
double llama3_frequency(double frequency, const RopeScalingRule& scaling) {
  const double original = static_cast<double>(scaling.original_tokens);
  const double wave_tokens = 2.0 * std::numbers::pi / frequency;
  if (wave_tokens > original / scaling.low_frequency_factor) return frequency / scaling.factor;
  if (wave_tokens < original / scaling.high_frequency_factor) return frequency;
  const double smooth = (original / wave_tokens - scaling.low_frequency_factor) /
                        (scaling.high_frequency_factor - scaling.low_frequency_factor);
  return (1.0 - smooth) * frequency / scaling.factor + smooth * frequency;
}

std::int64_t matrix_weights_of_a_layer(const TransformerShape& s) {
  return s.d_model * (s.qkv_columns() + s.attention_columns() + 3 * s.d_ff);
}

}  // namespace

std::vector<double> rope_inverse_frequencies(const TransformerShape& shape) {
  std::vector<double> frequencies;
  for (std::int64_t i = 0; i < shape.head_dim / 2; ++i) {
    double frequency = std::pow(shape.rope_theta, -2.0 * static_cast<double>(i) / static_cast<double>(shape.head_dim));
    switch (shape.rope_scaling.kind) {
      case RopeScalingRule::Kind::None: break;
      case RopeScalingRule::Kind::Linear: frequency /= shape.rope_scaling.factor; break;
      case RopeScalingRule::Kind::Llama3: frequency = llama3_frequency(frequency, shape.rope_scaling); break;
    }
    frequencies.push_back(frequency);
  }
  return frequencies;
}

double model_flops(const TransformerShape& s, double tokens, double attended_pairs) {
  const double weights = static_cast<double>(s.layers * matrix_weights_of_a_layer(s) + s.vocabulary * s.d_model);
  const double pairs = attended_pairs * static_cast<double>(s.layers * s.attention_columns());
  // A memory takes D^2 multiply-adds per query head and token to read, and D^2 per key head and token to write.
  double memory = 0;
  for (std::int64_t layer = 0; layer < s.layers; ++layer) {
    if (s.has_memory(layer)) memory += static_cast<double>((s.heads + s.kv_heads) * s.head_dim * s.head_dim);
  }
  return 6.0 * (weights + memory) * tokens + 12.0 * pairs;
}

std::int64_t num_parameters(const TransformerShape& s) {
  const std::int64_t tables = (s.tie_embeddings ? 1 : 2) * s.vocabulary * s.d_model;
  std::int64_t gates = 0;
  for (std::int64_t layer = 0; layer < s.layers; ++layer) gates += s.has_memory(layer) ? s.heads : 0;
  return tables + s.d_model + s.layers * (matrix_weights_of_a_layer(s) + 2 * s.d_model) + gates;
}

}  // namespace rondo

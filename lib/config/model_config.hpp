// SPDX-License-Identifier: Apache-2.0
// [model]: the architecture. Together with the corpus's vocabulary it determines the shape of every parameter.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "config/words.hpp"

namespace rondo {

enum class AttentionKind { Exact, Infini };
constexpr auto words_of(AttentionKind) {
  return std::to_array<Word<AttentionKind>>({{AttentionKind::Exact, "exact"}, {AttentionKind::Infini, "infini"}});
}

/// How a segment enters the memory of Infini-attention: kernels/compressive_memory.hpp.
enum class MemoryRuleChoice { Linear, Delta, DeltaCorrected };
constexpr auto words_of(MemoryRuleChoice) {
  return std::to_array<Word<MemoryRuleChoice>>({{MemoryRuleChoice::Linear, "linear"},
                                                {MemoryRuleChoice::Delta, "delta"},
                                                {MemoryRuleChoice::DeltaCorrected, "delta_corrected"}});
}

enum class RopeScaling { None, Linear, Llama3 };
constexpr auto words_of(RopeScaling) {
  return std::to_array<Word<RopeScaling>>(
      {{RopeScaling::None, "none"}, {RopeScaling::Linear, "linear"}, {RopeScaling::Llama3, "llama3"}});
}

struct ModelConfig {
  std::int64_t layers = 0;
  std::int64_t d_model = 0;
  std::int64_t heads = 0;
  std::int64_t kv_heads = 0;  // 0: the same as heads
  std::int64_t head_dim = 0;  // 0: d_model / heads
  std::int64_t d_ff = 0;      // 0: 8/3 d_model, rounded up to a multiple of 64
  double rope_theta = 10000.0;
  RopeScaling rope_scaling = RopeScaling::None;
  double rope_scaling_factor = 1.0;
  double rope_low_frequency_factor = 1.0;
  double rope_high_frequency_factor = 4.0;
  std::int64_t rope_original_tokens = 8192;
  double norm_epsilon = 1e-5;
  bool tie_embeddings = false;
  std::int64_t vocabulary_size = 0;                            // 0: the corpus's
  std::vector<AttentionKind> attention{AttentionKind::Exact};  // repeated over the layers
  std::int64_t window = 0;                                     // 0: none
  // for layers with a compressive memory
  std::int64_t segment_tokens = 2048;
  std::int64_t window_segments = 0;
  MemoryRuleChoice memory_rule = MemoryRuleChoice::Linear;
  double memory_gate = 0.0;  // initial value; its sigmoid is the weight of what is read from memory

  bool has_memory() const { return std::ranges::find(attention, AttentionKind::Infini) != attention.end(); }
  bool has_exact_layers() const { return std::ranges::find(attention, AttentionKind::Exact) != attention.end(); }

  bool operator==(const ModelConfig&) const = default;
};

}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
#include "model/shape_of.hpp"

namespace rondo {

namespace {

RopeScalingRule::Kind kind_of(RopeScaling scaling) {
  switch (scaling) {
    case RopeScaling::None: return RopeScalingRule::Kind::None;
    case RopeScaling::Linear: return RopeScalingRule::Kind::Linear;
    case RopeScaling::Llama3: return RopeScalingRule::Kind::Llama3;
  }
  return RopeScalingRule::Kind::None;
}

MemoryRule rule_of(MemoryRuleChoice choice) {
  switch (choice) {
    case MemoryRuleChoice::Linear: return MemoryRule::Linear;
    case MemoryRuleChoice::Delta: return MemoryRule::Delta;
    case MemoryRuleChoice::DeltaCorrected: return MemoryRule::DeltaCorrected;
  }
  return MemoryRule::Linear;
}

}  // namespace

AttentionMask::Rule mask_rule_of(const ModelConfig& model) { return {.causal = true, .window = model.window}; }

TransformerShape shape_of(const RunConfig& config) {
  const ModelConfig& model = config.model;
  ensure(model.kv_heads > 0 && model.head_dim > 0 && model.d_ff > 0 && config.memory.ffn_chunk_tokens > 0 &&
             config.memory.head_chunk_tokens > 0,
         "the configuration is resolved");
  return {.layers = model.layers,
          .d_model = model.d_model,
          .heads = model.heads,
          .kv_heads = model.kv_heads,
          .head_dim = model.head_dim,
          .d_ff = model.d_ff,
          .vocabulary = model.vocabulary_size,
          .rope_theta = model.rope_theta,
          .rope_scaling = {.kind = kind_of(model.rope_scaling),
                           .factor = model.rope_scaling_factor,
                           .low_frequency_factor = model.rope_low_frequency_factor,
                           .high_frequency_factor = model.rope_high_frequency_factor,
                           .original_tokens = model.rope_original_tokens},
          .norm_epsilon = model.norm_epsilon,
          .tie_embeddings = model.tie_embeddings,
          .attention = model.attention,
          .segments = {.segment_tokens = model.has_memory() ? model.segment_tokens : 0,
                       .window_segments = model.window_segments,
                       .memory_rule = rule_of(model.memory_rule),
                       .gate_initial = model.memory_gate},
          .ffn_chunk_tokens = config.memory.ffn_chunk_tokens,
          .head_chunk_tokens = config.memory.head_chunk_tokens};
}

DType dtype_of_compute(ComputePrecision compute) {
  switch (compute) {
    case ComputePrecision::Fp64: return DType::Fp64;
    case ComputePrecision::Fp32: return DType::Fp32;
    case ComputePrecision::Bf16: return DType::Bf16;
    case ComputePrecision::Auto: break;
  }
  ensure(false, "the precision is resolved");
  return DType::Fp32;
}

}  // namespace rondo

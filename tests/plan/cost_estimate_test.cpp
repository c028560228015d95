// SPDX-License-Identifier: Apache-2.0
#include "plan/cost_estimate.hpp"

#include <gtest/gtest.h>

#include "config/load.hpp"
#include "config/resolve.hpp"

namespace rondo::test {

// LLaMA 3.2 1B, whose model card says 1.23 billion parameters.
RunConfig llama_1b(int ranks, std::int64_t sequence_length) {
  RunConfig config;
  config.model = {.layers = 16, .d_model = 2048, .heads = 32, .kv_heads = 8, .head_dim = 64, .d_ff = 8192};
  config.model.vocabulary_size = 128256;
  config.model.tie_embeddings = true;
  config.data = {.corpus = "a.h5", .sequence_length = sequence_length};
  config.train.batch_sequences = 2;
  config.precision.compute = ComputePrecision::Bf16;
  return resolve(config, {.world_size = ranks});
}

TEST(CostEstimate, CountsTheParametersOfAKnownModel) {
  const CostEstimate cost = estimate_cost(llama_1b(1, 8192));
  EXPECT_EQ(cost.num_parameters, 1235814400);
  EXPECT_EQ(cost.checkpoint_bytes, 12 * cost.num_parameters);
  EXPECT_EQ(cost.tokens_per_step, 16384);
}

TEST(CostEstimate, CountsPairsAsALoopDoes) {
  for (const std::int64_t window : {0, 1, 3, 7, 20}) {
    double pairs = 0;
    for (std::int64_t i = 0; i < 10; ++i) pairs += static_cast<double>(window == 0 ? i + 1 : std::min(i + 1, window));
    EXPECT_EQ(causal_pairs(10, window), pairs) << window;
  }
}

TEST(CostEstimate, CountsThePairsOfSegmentsAsALoopDoes) {
  for (const std::int64_t tokens : {1, 7, 8, 9, 40, 43}) {
    for (const std::int64_t window : {0, 1, 3, 100}) {
      double pairs = 0;
      for (std::int64_t i = 0; i < tokens; ++i)
        pairs += static_cast<double>(i + 1 - std::max<std::int64_t>(0, i / 8 - window) * 8);
      EXPECT_EQ(segment_pairs(tokens, 8, window), pairs) << tokens << " tokens, window " << window;
    }
  }
}

TEST(CostEstimate, CountsWhatSpansHold) {
  RunConfig config = llama_1b(2, 1 << 20);
  config.model.attention = {AttentionKind::Infini};
  config.parallel.layout = LayoutKind::Contiguous;
  const auto bytes = [&](MemoryUse use) { return estimate_cost(config).memory_bytes[static_cast<std::size_t>(use)]; };
  const std::int64_t whole = bytes(MemoryUse::KeptActivations);
  EXPECT_EQ(bytes(MemoryUse::Carry), 0);
  config.memory.span_tokens = 1 << 17;
  // a layer: M and z of 8 key heads in fp64, and a segment's keys, turned keys and values in bf16 or, of the gradient, fp32
  const std::int64_t memory = 8 * 64 * 65 * 8, keys = 3 * 2048 * 8 * 64;
  EXPECT_EQ(bytes(MemoryUse::KeptActivations) - 16 * memory, (whole - 16 * memory) / 8);
  EXPECT_EQ(bytes(MemoryUse::Carry), 16 * (8 * (memory + 2 * keys) + memory + 4 * keys));
  config.memory.span_states_mib = 1;
  EXPECT_EQ(bytes(MemoryUse::Carry), (1 << 20) + 16 * (2 * memory + 6 * keys));
}

TEST(CostEstimate, GrowsWithTheShareOfARankNotWithTheSequence) {
  const MemoryEstimate small = estimate_cost(llama_1b(2, 16384)).memory_bytes;
  const MemoryEstimate large = estimate_cost(llama_1b(64, 64 * 8192)).memory_bytes;
  EXPECT_EQ(small, large);
  const CostEstimate alone = estimate_cost(llama_1b(1, 8192));
  EXPECT_EQ(alone.memory_bytes[static_cast<std::size_t>(MemoryUse::KeyValueSlots)], 0);
  EXPECT_EQ(alone.memory_bytes[static_cast<std::size_t>(MemoryUse::Parameters)], 6 * alone.num_parameters);
}

TEST(CostEstimate, AddsWhatCudnnTakesOnAGpu) {
  RunConfig config = llama_1b(2, 16384);
  const auto workspace_on = [&](DeviceChoice device) {
    config.parallel.device = device;
    return estimate_cost(config).memory_bytes[static_cast<std::size_t>(MemoryUse::Workspace)];
  };
  // forward: the partial output and its log-sum-exp, 32 heads of 64, are more than d_q, d_k, d_v and a workspace of 8 heads
  const std::int64_t partial_output = std::int64_t{8192} * 32 * 65 * 4, libraries = (32 << 20) + (1 << 19);
  EXPECT_EQ(workspace_on(DeviceChoice::Cuda) - workspace_on(DeviceChoice::Cpu), partial_output + libraries);
}

TEST(CostEstimate, AddsWhatALayerWithAMemoryTakes) {
  const auto bytes_of = [](MemoryUse use, const auto& change) {
    RunConfig config = llama_1b(2, 16384);
    config.parallel.layout = LayoutKind::Contiguous;
    config.model.attention = {AttentionKind::Infini};
    config.model.segment_tokens = 512;
    change(config);
    return estimate_cost(config).memory_bytes[static_cast<std::size_t>(use)];
  };
  const auto workspace_of = [&](const auto& change) { return bytes_of(MemoryUse::Workspace, change); };
  const auto kept = [&](const auto& change) { return bytes_of(MemoryUse::KeptActivations, change); };
  const std::int64_t matrix = 8 * 64 * 64,
                     kept_exact = kept([](RunConfig&c) { c.model.attention = {AttentionKind::Exact}; });
  EXPECT_EQ(kept([](RunConfig&) {}) - kept_exact, 16 * (matrix + 8 * 64) * 8) << "a state a layer, in fp64";
  EXPECT_EQ(kept([](RunConfig& c) { c.model.memory_rule = MemoryRuleChoice::Delta; }) - kept([](RunConfig&) {}),
            16 * matrix * 4)
      << "what the rank's own run takes away, in fp32";
  const std::int64_t published = workspace_of([](RunConfig&) {});
  EXPECT_GT(published, workspace_of([](RunConfig& c) { c.model.attention = {AttentionKind::Exact}; }));
  // 8 key heads of 64 in bf16 with and without turning, and values; their gradients in fp32
  const std::int64_t borrowed_token = 3 * 8 * 64 * (2 + 4);
  EXPECT_EQ(workspace_of([](RunConfig& c) { c.model.window_segments = 3; }) - published, 3 * 512 * borrowed_token);
  EXPECT_EQ(workspace_of([](RunConfig& c) { c.model.window_segments = std::int64_t{1} << 40; }) - published,
            (8192 - 512) * borrowed_token)
      << "no more than the other rank has";
  // short segments have many matrices, and the delta rule has more of them than the linear one
  const auto on_gpu = [&](MemoryRuleChoice rule) {
    return workspace_of([rule](RunConfig& c) {
      c.parallel.device = DeviceChoice::Cuda;
      c.model.segment_tokens = 16;
      c.model.memory_rule = rule;
    });
  };
  EXPECT_GT(on_gpu(MemoryRuleChoice::Delta), on_gpu(MemoryRuleChoice::Linear));
}

}  // namespace rondo::test

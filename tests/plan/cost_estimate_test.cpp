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

}  // namespace rondo::test

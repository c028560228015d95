// SPDX-License-Identifier: Apache-2.0
#include "plan/cost_estimate.hpp"

#include <gtest/gtest.h>

#include "config/resolve.hpp"
#include "plan/dry_run.hpp"

namespace rondo::test {

// LLaMA 3.2 1B, whose model card says 1.23 billion parameters.
RunConfig llama_1b(int ranks, std::int64_t sequence_length) {
  RunConfig config;
  config.model = {.layers = 16, .d_model = 2048, .heads = 32, .kv_heads = 8, .head_dim = 64, .d_ff = 8192};
  config.model.vocabulary_size = 128256;
  config.model.tie_embeddings = true;
  config.data = {.corpus = "a.h5", .sequence_length = sequence_length};
  config.train.batch_sequences = 2;
  config.parallel.device = DeviceChoice::Cuda;  // its workspace does not depend on this processor
  config.precision.compute = ComputePrecision::Bf16;
  return resolve(config, {.world_size = ranks, .has_cuda = true, .has_nccl = true});
}

CostEstimate cost_of(const RunConfig& config) { return estimate_cost(config, {.world_size = config.parallel.ring}); }

std::int64_t bytes_of(const RunConfig& config, MemoryUse use) {
  return cost_of(config).memory_bytes[static_cast<std::size_t>(use)];
}

TEST(CostEstimate, CountsTheParametersOfAKnownModel) {
  const CostEstimate cost = cost_of(llama_1b(1, 8192));
  EXPECT_EQ(cost.num_parameters, 1235814400);
  EXPECT_EQ(cost.checkpoint_bytes, 12 * cost.num_parameters);
  EXPECT_EQ(cost.tokens_per_step, 16384);
  EXPECT_EQ(cost.memory_bytes[static_cast<std::size_t>(MemoryUse::Parameters)], 6 * cost.num_parameters);
  EXPECT_EQ(cost.memory_bytes[static_cast<std::size_t>(MemoryUse::Optimizer)], 8 * cost.num_parameters);
}

// 6 per weight of a matrix product, and 12 N D per attending pair, in every layer.
TEST(CostEstimate, CountsModelFlopsByTheConventionOfMfu) {
  RunConfig config = llama_1b(2, 8192);
  const double weights = 16.0 * (2048.0 * 48 * 64 + 2048.0 * 2048 + 3.0 * 2048 * 8192) + 128256.0 * 2048;
  EXPECT_DOUBLE_EQ(cost_of(config).flops_per_token, 6 * weights + 12.0 * 16 * 2048 * (8192 + 1) / 2);
  config.model.window = 1024;
  const double mean_keys = (1024.0 * 8192 - 1024.0 * 1023 / 2) / 8192;
  EXPECT_DOUBLE_EQ(cost_of(config).flops_per_token, 6 * weights + 12.0 * 16 * 2048 * mean_keys);
}

// Per pair, two products forward and five backward; the feed-forward network runs forward twice.
TEST(CostEstimate, CountsWhatIsComputedAgain) {
  const RunConfig config = llama_1b(1, 8192);
  const double pairs = 14.0 * 16 * 2048 * (8192 + 1) / 2;
  const double attention_weights = 16.0 * (2048.0 * 48 * 64 + 2048.0 * 2048), ffn_in = 16.0 * 2 * 2048 * 8192,
               ffn_out = 16.0 * 2048 * 8192, head = 128256.0 * 2048;
  EXPECT_DOUBLE_EQ(cost_of(config).computed_flops_per_token,
                   8 * attention_weights + 8 * ffn_in + 6 * ffn_out + 6 * head + pairs);
}

// In all hops but the last each rank sends keys and values to the next one, in forward and again in backward, where their
// gradients are sent too; and parts of the parameters' gradients to every other rank.
TEST(CostEstimate, CountsWhatARankSends) {
  EXPECT_EQ(cost_of(llama_1b(1, 8192)).sent_bytes_per_step, 0);
  const CostEstimate cost = cost_of(llama_1b(2, 16384));
  const double key_values = 2.0 * 8192 * 8 * 64, gradients = 4.0 * static_cast<double>(cost.num_parameters);
  const double of_layer = 2 * (2 * key_values * 2 + key_values * 4);  // for two sequences
  EXPECT_NEAR(cost.sent_bytes_per_step, 16 * of_layer + gradients, 1e-3 * gradients);
  EXPECT_GT(cost.messages_per_step, 0);
}

TEST(CostEstimate, GrowsWithTheShardOfARankNotWithTheSequence) {
  const CostEstimate small = cost_of(llama_1b(2, 16384)), large = cost_of(llama_1b(64, 64 * 8192));
  for (const MemoryUse use : {MemoryUse::KeptActivations, MemoryUse::KeyValueSlots, MemoryUse::HeadChunk}) {
    const auto index = static_cast<std::size_t>(use);
    EXPECT_EQ(small.memory_bytes[index], large.memory_bytes[index]) << name_of(use);
  }
  EXPECT_NEAR(static_cast<double>(large.memory_total_bytes), static_cast<double>(small.memory_total_bytes),
              1e-3 * static_cast<double>(small.memory_total_bytes));
  EXPECT_EQ(bytes_of(llama_1b(1, 8192), MemoryUse::KeyValueSlots), 0);
}

RunConfig infini(int ranks, std::int64_t sequence_length) {
  RunConfig config = llama_1b(ranks, sequence_length);
  config.model.attention = {AttentionKind::Infini};
  config.parallel.layout = LayoutKind::Contiguous;
  return config;
}

TEST(CostEstimate, KeepsAsManyStatesBetweenSpansAsTheBudgetAllows) {
  RunConfig config = infini(2, 1 << 20);
  EXPECT_EQ(bytes_of(config, MemoryUse::Carry), 0);
  config.memory.span_tokens = 1 << 17;
  const std::int64_t all = bytes_of(config, MemoryUse::Carry);
  config.memory.span_states_mib = (all >> 20) * 5 / 9;  // room for 4 of 7 states and the gradient of one
  EXPECT_LT(bytes_of(config, MemoryUse::Carry), all);
  EXPECT_GT(bytes_of(config, MemoryUse::Carry), 0);
}

TEST(CostEstimate, AddsTheStateOfAnEvaluationInSpans) {
  RunConfig config = infini(2, 1 << 20);
  config.memory.span_tokens = 1 << 17;
  const auto carry = static_cast<std::size_t>(MemoryUse::Carry);
  const CostEstimate without = estimate_cost(config, {.world_size = 2});
  const CostEstimate with = estimate_cost(config, {.world_size = 2, .validation_tokens = 1 << 20});
  EXPECT_GT(with.memory_bytes[carry], without.memory_bytes[carry]);
}

TEST(CostEstimate, CountsALongSequenceOnFewRanks) {
  const RunConfig config = infini(4, 100'000'000);
  const CostEstimate cost = cost_of(config);
  EXPECT_GT(cost.memory_total_bytes, std::int64_t{1} << 42) << "more than this host has";
}

// The smallest shard of a large ring is not taken for the largest.
TEST(CostEstimate, FindsTheRankThatTakesMost) {
  const RunConfig config = infini(12, 12 * 4096 + 5);
  std::int64_t most = 0;
  for (int rank = 0; rank < 12; ++rank) {
    most = std::max(most, dry_run(config, {.world_size = 12, .rank = rank}).peak_total_bytes);
  }
  EXPECT_EQ(cost_of(config).memory_total_bytes, most);
}

}  // namespace rondo::test

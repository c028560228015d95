// SPDX-License-Identifier: Apache-2.0
// The memory of a rank, by the ledger of its device, grows linearly with its own tokens, and not with their product with the
// sequence, the vocabulary or the feed-forward dimension; inference takes no memory of training.
#include <gtest/gtest.h>

#include "kernels/cpu/backend.hpp"
#include "model/transformer.hpp"
#include "tests/support/execution.hpp"
#include "tests/support/guarded_device.hpp"

namespace rondo {
namespace {

constexpr std::int64_t kChunk = 128;

TransformerShape shape_with(std::int64_t d_model, std::int64_t d_ff, std::int64_t vocabulary) {
  return {.layers = 2,
          .d_model = d_model,
          .heads = 2,
          .kv_heads = 1,
          .head_dim = 16,
          .d_ff = d_ff,
          .vocabulary = vocabulary,
          .rope_scaling = {},
          .ffn_chunk_tokens = kChunk,
          .head_chunk_tokens = kChunk};
}

// One rank with a model, and the peak memory of its device.
class Rank {
 public:
  Rank(const TransformerShape& shape, DType compute, ParameterUse use)
      : execution_(Communicator::self(), [](Device& device) { return make_cpu_backend(device, {.threads = 1}); }),
        parameters_(execution_.get(), shape, compute, use),
        model_(execution_.get(), shape, parameters_, ActivationPolicy::KeepAttention) {
    parameters_.initialise(3);
  }

  void train(std::int64_t tokens) {
    const Buffers b(execution_.device(), tokens);
    model_.forward_backward(span_of(tokens), {b.tokens.view(), b.targets.view()}, b.losses.view());
  }
  void evaluate(std::int64_t tokens) {
    const Buffers b(execution_.device(), tokens);
    model_.evaluate(span_of(tokens), {b.tokens.view(), b.targets.view()}, b.losses.view());
  }
  std::int64_t peak(MemoryUse use) { return static_cast<std::int64_t>(execution_.device().memory().peak_bytes(use)); }
  /// The size of the arena after a step, which it keeps.
  std::int64_t workspace() {
    return static_cast<std::int64_t>(execution_.device().memory().current_bytes(MemoryUse::Workspace));
  }

 private:
  struct Buffers {
    Buffer tokens, targets, losses;  // not counted as workspace
    Buffers(Device& device, std::int64_t count)
        : tokens(device, DType::Int32, {count}, MemoryUse::Carry),
          targets(device, DType::Int32, {count}, MemoryUse::Carry),
          losses(device, DType::Fp32, {count}, MemoryUse::Carry) {
      Stream stream(StreamRole::Compute);
      for (const Buffer* buffer : {&tokens, &targets}) device.fill_zero(stream, buffer->data(), buffer->size_bytes());
    }
  };
  static Span span_of(std::int64_t tokens) {
    return Span(SequenceLayout(tokens, 1, LayoutKind::Contiguous), {.causal = true, .window = 32}, 0);
  }

  test::TestExecution execution_;
  ParameterSet parameters_;
  Transformer model_;
};

std::int64_t workspace_of_training(const TransformerShape& shape, DType compute, std::int64_t tokens) {
  Rank rank(shape, compute, ParameterUse::Training);
  rank.train(tokens);
  return rank.workspace();
}

class WorkspaceOfTraining : public testing::TestWithParam<DType> {};

// A small d_model, so that a vocabulary of 50,000 takes little time. From 2,048 tokens on, the buffers of matrix products have
// the size of their blocks.
constexpr std::int64_t kNarrow = 16, kTokens = 2048;
// Every buffer is rounded up to a multiple of 64 bytes.
constexpr double kRounding = 1.001;

std::int64_t growth_per_token(const TransformerShape& shape, DType compute) {
  return (workspace_of_training(shape, compute, 2 * kTokens) - workspace_of_training(shape, compute, kTokens)) /
         kTokens;
}

TEST_P(WorkspaceOfTraining, GrowsByTheSameBytesForEveryToken) {
  const TransformerShape shape = shape_with(64, 96, 256);
  const auto bytes = [&](std::int64_t tokens) { return workspace_of_training(shape, GetParam(), tokens); };
  const std::int64_t one = bytes(kTokens), two = bytes(2 * kTokens), four = bytes(4 * kTokens);
  EXPECT_GT(two, one);
  EXPECT_LE(static_cast<double>(four - two), 2 * kRounding * static_cast<double>(two - one))
      << "no buffer of tokens x tokens";
}

TEST_P(WorkspaceOfTraining, GrowsWithTokensNoFasterForALargeVocabularyOrFeedForward) {
  const auto growth = [&](std::int64_t d_ff, std::int64_t vocabulary) {
    return static_cast<double>(growth_per_token(shape_with(kNarrow, d_ff, vocabulary), GetParam()));
  };
  const double small = growth(32, 256);
  EXPECT_GT(small, 0);
  EXPECT_LE(growth(32, 50000), small * kRounding) << "no buffer of tokens x vocabulary";
  EXPECT_LE(growth(2048, 256), small * kRounding) << "no buffer of tokens x d_ff";
}

// The [T, C] tensors of backward: the residual stream and its gradient, the normed input, the middle, the gradient of normed.
TEST_P(WorkspaceOfTraining, GrowsByAtMostFiveRowsOfTheModelForEveryToken) {
  const auto growth = [&](std::int64_t d_model) { return growth_per_token(shape_with(d_model, 96, 256), GetParam()); };
  const std::int64_t of_64_columns = growth(128) - growth(64);
  EXPECT_GT(of_64_columns, 0);
  EXPECT_LE(of_64_columns, 5 * 64 * static_cast<std::int64_t>(size_of(GetParam())));
}

INSTANTIATE_TEST_SUITE_P(Cpu, WorkspaceOfTraining, testing::Values(DType::Fp32, DType::Bf16),
                         [](const auto& which) { return std::string(name_of(which.param)); });

// On a mock device, where host code that touches a chunk faults.
std::int64_t workspace_of_feed_forward(std::int64_t tokens) {
  const TransformerShape shape = shape_with(64, 96, 256);
  test::GuardedDevice device;
  const auto backend = test::make_guarded_backend(device);
  const auto compute = device.make_stream(StreamRole::Compute);
  Arena scratch(device, MemoryUse::Workspace);
  const auto transport = make_self_transport(device);
  Execution execution{device, *backend, *compute, scratch, Ring{*transport, *compute}};
  ParameterSet parameters(execution, shape, DType::Bf16);
  parameters.initialise(3);
  const Buffer x(device, DType::Bf16, {tokens, shape.d_model}, MemoryUse::Carry),
      d_x(device, DType::Bf16, {tokens, shape.d_model}, MemoryUse::Carry);
  device.fill(*compute, x.view(), 0.5);
  device.fill(*compute, d_x.view(), 0.25);
  BlockwiseFeedForward feed_forward(execution, shape);
  feed_forward.backward(parameters.acquire(0), x.view(), d_x.view());
  feed_forward.forward(parameters.acquire(0), x.view());
  device.synchronize(*compute);
  return static_cast<std::int64_t>(device.memory().peak_bytes(MemoryUse::Workspace));
}

TEST(FeedForwardChunk, IsAsLargeForManyTokensAsForTwoChunks) {
  const std::int64_t bytes = workspace_of_feed_forward(2 * kChunk);
  EXPECT_GT(bytes, 0);
  EXPECT_EQ(workspace_of_feed_forward(16 * kChunk), bytes);
}

TEST(HeadChunk, IsAsLargeForManyTokensAsForOneChunk) {
  const auto bytes = [](std::int64_t tokens) {
    Rank rank(shape_with(kNarrow, 32, 50000), DType::Fp32, ParameterUse::Training);
    rank.train(tokens);
    return rank.peak(MemoryUse::HeadChunk);
  };
  EXPECT_EQ(bytes(4 * kChunk), bytes(kChunk));
}

TEST(ModelInUse, HasNeitherGradientsNorActivations) {
  for (const DType compute : {DType::Fp32, DType::Bf16}) {
    Rank training(shape_with(64, 96, 256), compute, ParameterUse::Training);
    Rank inference(shape_with(64, 96, 256), compute, ParameterUse::Inference);
    training.train(256);
    inference.evaluate(256);
    for (const MemoryUse use : {MemoryUse::Gradients, MemoryUse::Optimizer, MemoryUse::KeptActivations}) {
      EXPECT_EQ(inference.peak(use), 0) << name_of(use);
    }
    EXPECT_GT(training.peak(MemoryUse::Gradients), 0);
    EXPECT_GT(training.peak(MemoryUse::KeptActivations), 0);
    EXPECT_EQ(inference.peak(MemoryUse::Parameters), training.peak(MemoryUse::Parameters));
  }
}

}  // namespace
}  // namespace rondo

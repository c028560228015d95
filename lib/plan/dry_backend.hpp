// SPDX-License-Identifier: Apache-2.0
// A backend that computes nothing: it checks the arguments of every operation, counts it, and allocates the workspace of the
// backend that it stands in for.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "kernels/backend.hpp"
#include "kernels/workspace.hpp"

namespace rondo {

enum class Operation : std::uint8_t {
  Matmul,
  RmsNorm,
  Embedding,
  QkvSplit,
  BlockAttention,
  AttentionDelta,
  MemoryNormaliser,
  CompressiveMemory,
  MemoryFold,
  MemoryGate,
  Swiglu,
  CrossEntropy,
  Elementwise,  // convert, add, sum
  AdamW,
};
inline constexpr std::size_t kNumOperations = 14;
std::string_view name_of(Operation operation);

/// Counts of an operation, forward and backward together.
struct OperationCount {
  std::uint64_t calls = 0;
  double bytes = 0;  ///< read and written, each argument counted once
  double flops = 0;  ///< of matrix products, attention and memory; other operations count by their bytes
};
using OperationCounts = std::array<OperationCount, kNumOperations>;

class DryBackend final : public Backend {
 public:
  explicit DryBackend(std::unique_ptr<KernelWorkspace> workspace) : workspace_(std::move(workspace)) {}

  std::string name() const override { return "dry"; }
  /// Indexed by Operation, since construction.
  const OperationCounts& counts() const { return counts_; }
  /// Called with every block of attention's forward pass.
  std::function<void(const BlockAttentionForwardArgs&)> on_attention;

  void matmul(Stream&, const MatmulArgs&) override;
  void rms_norm_forward(Stream&, const RmsNormForwardArgs&) override;
  void rms_norm_backward(Stream&, const RmsNormBackwardArgs&) override;
  void embedding_forward(Stream&, const EmbeddingForwardArgs&) override;
  void embedding_backward(Stream&, const EmbeddingBackwardArgs&) override;
  void qkv_split_forward(Stream&, const QkvSplitForwardArgs&) override;
  void qkv_split_backward(Stream&, const QkvSplitBackwardArgs&) override;
  void block_attention_forward(Stream&, const BlockAttentionForwardArgs&) override;
  void block_attention_backward(Stream&, const BlockAttentionBackwardArgs&) override;
  void attention_delta(Stream&, const AttentionDeltaArgs&) override;
  void memory_normaliser_forward(Stream&, const MemoryNormaliserForwardArgs&) override;
  void memory_normaliser_backward(Stream&, const MemoryNormaliserBackwardArgs&) override;
  void compressive_memory_forward(Stream&, const CompressiveMemoryForwardArgs&) override;
  void compressive_memory_backward(Stream&, const CompressiveMemoryBackwardArgs&) override;
  void memory_fold(Stream&, const MemoryFoldArgs&) override;
  void memory_gate_forward(Stream&, const MemoryGateForwardArgs&) override;
  void memory_gate_backward(Stream&, const MemoryGateBackwardArgs&) override;
  void swiglu_forward(Stream&, const SwigluForwardArgs&) override;
  void swiglu_backward(Stream&, const SwigluBackwardArgs&) override;
  void cross_entropy(Stream&, const CrossEntropyArgs&) override;
  void convert(Stream&, const ConvertArgs&) override;
  void add(Stream&, const AddArgs&) override;
  void sum(Stream&, const SumArgs&) override;
  void adamw(Stream&, const AdamWArgs&) override;

 private:
  void count(Operation operation, double flops, std::initializer_list<TensorView> arguments);
  double pairs(const AttentionMaskView& mask, const TokenRuns& queries, const TokenRuns& keys);

  std::unique_ptr<KernelWorkspace> workspace_;
  OperationCounts counts_{};
  // The last block counted: layers repeat the same block, whose pairs are then not counted again.
  struct {
    TokenRuns queries, keys;
    AttentionMaskView mask;
    double pairs = -1;
  } last_;
};

}  // namespace rondo

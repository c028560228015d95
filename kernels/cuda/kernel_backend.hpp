// SPDX-License-Identifier: Apache-2.0
// The operations that are kernels of our own, all but matrix products: what the backend of GPUs and the emulated one of the
// tests have in common.
#pragma once

#include "kernels/cuda/operations.hpp"

namespace rondo::cuda {

/// Calls belong on the compute stream: sums share a workspace.
class KernelBackend : public Backend {
 public:
  explicit KernelBackend(Device& device) : sum_workspace_(device, DType::Fp64, {kSumWorkspace}, MemoryUse::Workspace) {}

  void rms_norm_forward(Stream& stream, const RmsNormForwardArgs& args) override {
    cuda::rms_norm_forward(stream, args);
  }
  void rms_norm_backward(Stream& stream, const RmsNormBackwardArgs& args) override {
    cuda::rms_norm_backward(stream, args);
  }
  void embedding_forward(Stream& stream, const EmbeddingForwardArgs& args) override {
    cuda::embedding_forward(stream, args);
  }
  void embedding_backward(Stream& stream, const EmbeddingBackwardArgs& args) override {
    cuda::embedding_backward(stream, args);
  }
  void qkv_split_forward(Stream& stream, const QkvSplitForwardArgs& args) override {
    cuda::qkv_split_forward(stream, args);
  }
  void qkv_split_backward(Stream& stream, const QkvSplitBackwardArgs& args) override {
    cuda::qkv_split_backward(stream, args);
  }
  void block_attention_forward(Stream& stream, const BlockAttentionForwardArgs& args) override {
    cuda::block_attention_forward(stream, args);
  }
  void block_attention_backward(Stream& stream, const BlockAttentionBackwardArgs& args) override {
    cuda::block_attention_backward(stream, args);
  }
  void attention_delta(Stream& stream, const AttentionDeltaArgs& args) override { cuda::attention_delta(stream, args); }
  void memory_normaliser_forward(Stream& stream, const MemoryNormaliserForwardArgs& args) override {
    cuda::memory_normaliser_forward(stream, args);
  }
  void memory_normaliser_backward(Stream& stream, const MemoryNormaliserBackwardArgs& args) override {
    cuda::memory_normaliser_backward(stream, args);
  }
  void compressive_memory_forward(Stream& stream, const CompressiveMemoryForwardArgs& args) override {
    cuda::compressive_memory_forward(stream, args);
  }
  void compressive_memory_backward(Stream& stream, const CompressiveMemoryBackwardArgs& args) override {
    cuda::compressive_memory_backward(stream, args);
  }
  void memory_fold(Stream& stream, const MemoryFoldArgs& args) override { cuda::memory_fold(stream, args); }
  void memory_gate_forward(Stream& stream, const MemoryGateForwardArgs& args) override {
    cuda::memory_gate_forward(stream, args);
  }
  void memory_gate_backward(Stream& stream, const MemoryGateBackwardArgs& args) override {
    cuda::memory_gate_backward(stream, args, workspace_for(stream));
  }
  void swiglu_forward(Stream& stream, const SwigluForwardArgs& args) override { cuda::swiglu_forward(stream, args); }
  void swiglu_backward(Stream& stream, const SwigluBackwardArgs& args) override { cuda::swiglu_backward(stream, args); }
  void cross_entropy(Stream& stream, const CrossEntropyArgs& args) override { cuda::cross_entropy(stream, args); }
  void convert(Stream& stream, const ConvertArgs& args) override { cuda::convert(stream, args); }
  void add(Stream& stream, const AddArgs& args) override { cuda::add(stream, args); }
  void sum(Stream& stream, const SumArgs& args) override { cuda::sum(stream, args, workspace_for(stream)); }
  void adamw(Stream& stream, const AdamWArgs& args) override { cuda::adamw(stream, args); }

 private:
  double* workspace_for(const Stream& stream) const {
    ensure(stream.role() == StreamRole::Compute, "sums share a workspace, so all are on the compute stream");
    return sum_workspace_.view().as<double>();
  }

  Buffer sum_workspace_;
};

}  // namespace rondo::cuda

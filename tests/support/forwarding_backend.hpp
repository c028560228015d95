// SPDX-License-Identifier: Apache-2.0
// A backend that forwards every operation to another one; tests override the operations that they observe.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kernels/backend.hpp"

namespace rondo::test {

class ForwardingBackend : public Backend {
 public:
  explicit ForwardingBackend(Backend& to) : to_(to) {}

  std::string name() const override { return to_.name(); }
  std::vector<std::string> attention_kernels(const BlockAttentionForwardArgs& args) override {
    return to_.attention_kernels(args);
  }
  void matmul(Stream& stream, const MatmulArgs& args) override { to_.matmul(stream, args); }
  void rms_norm_forward(Stream& stream, const RmsNormForwardArgs& args) override { to_.rms_norm_forward(stream, args); }
  void rms_norm_backward(Stream& stream, const RmsNormBackwardArgs& args) override {
    to_.rms_norm_backward(stream, args);
  }
  void embedding_forward(Stream& stream, const EmbeddingForwardArgs& args) override {
    to_.embedding_forward(stream, args);
  }
  void embedding_backward(Stream& stream, const EmbeddingBackwardArgs& args) override {
    to_.embedding_backward(stream, args);
  }
  void qkv_split_forward(Stream& stream, const QkvSplitForwardArgs& args) override {
    to_.qkv_split_forward(stream, args);
  }
  void qkv_split_backward(Stream& stream, const QkvSplitBackwardArgs& args) override {
    to_.qkv_split_backward(stream, args);
  }
  void block_attention_forward(Stream& stream, const BlockAttentionForwardArgs& args) override {
    to_.block_attention_forward(stream, args);
  }
  void block_attention_backward(Stream& stream, const BlockAttentionBackwardArgs& args) override {
    to_.block_attention_backward(stream, args);
  }
  void attention_delta(Stream& stream, const AttentionDeltaArgs& args) override { to_.attention_delta(stream, args); }
  void memory_normaliser_forward(Stream& stream, const MemoryNormaliserForwardArgs& args) override {
    to_.memory_normaliser_forward(stream, args);
  }
  void memory_normaliser_backward(Stream& stream, const MemoryNormaliserBackwardArgs& args) override {
    to_.memory_normaliser_backward(stream, args);
  }
  void compressive_memory_forward(Stream& stream, const CompressiveMemoryForwardArgs& args) override {
    to_.compressive_memory_forward(stream, args);
  }
  void compressive_memory_backward(Stream& stream, const CompressiveMemoryBackwardArgs& args) override {
    to_.compressive_memory_backward(stream, args);
  }
  void memory_fold(Stream& stream, const MemoryFoldArgs& args) override { to_.memory_fold(stream, args); }
  void memory_gate_forward(Stream& stream, const MemoryGateForwardArgs& args) override {
    to_.memory_gate_forward(stream, args);
  }
  void memory_gate_backward(Stream& stream, const MemoryGateBackwardArgs& args) override {
    to_.memory_gate_backward(stream, args);
  }
  void swiglu_forward(Stream& stream, const SwigluForwardArgs& args) override { to_.swiglu_forward(stream, args); }
  void swiglu_backward(Stream& stream, const SwigluBackwardArgs& args) override { to_.swiglu_backward(stream, args); }
  void cross_entropy(Stream& stream, const CrossEntropyArgs& args) override { to_.cross_entropy(stream, args); }
  void convert(Stream& stream, const ConvertArgs& args) override { to_.convert(stream, args); }
  void add(Stream& stream, const AddArgs& args) override { to_.add(stream, args); }
  void sum(Stream& stream, const SumArgs& args) override { to_.sum(stream, args); }
  void adamw(Stream& stream, const AdamWArgs& args) override { to_.adamw(stream, args); }

 private:
  Backend& to_;
};

}  // namespace rondo::test

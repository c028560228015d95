// SPDX-License-Identifier: Apache-2.0
#include "kernels/reference/backend.hpp"

#include "kernels/reference/operations.hpp"

namespace rondo {

namespace {

class ReferenceBackend final : public Backend {
 public:
  std::string name() const override { return "reference"; }

  void matmul(Stream& stream, const MatmulArgs& args) override { reference::matmul(stream, args); }
  void rms_norm_forward(Stream&, const RmsNormForwardArgs& args) override { reference::rms_norm_forward(args); }
  void rms_norm_backward(Stream&, const RmsNormBackwardArgs& args) override { reference::rms_norm_backward(args); }
  void embedding_forward(Stream&, const EmbeddingForwardArgs& args) override { reference::embedding_forward(args); }
  void embedding_backward(Stream&, const EmbeddingBackwardArgs& args) override { reference::embedding_backward(args); }
  void qkv_split_forward(Stream&, const QkvSplitForwardArgs& args) override { reference::qkv_split_forward(args); }
  void qkv_split_backward(Stream&, const QkvSplitBackwardArgs& args) override { reference::qkv_split_backward(args); }
  void block_attention_forward(Stream& stream, const BlockAttentionForwardArgs& args) override {
    reference::block_attention_forward(stream, args);
  }
  void block_attention_backward(Stream& stream, const BlockAttentionBackwardArgs& args) override {
    reference::block_attention_backward(stream, args);
  }
  void attention_delta(Stream&, const AttentionDeltaArgs& args) override { reference::attention_delta(args); }
  void memory_normaliser_forward(Stream&, const MemoryNormaliserForwardArgs& args) override {
    reference::memory_normaliser_forward(args);
  }
  void memory_normaliser_backward(Stream&, const MemoryNormaliserBackwardArgs& args) override {
    reference::memory_normaliser_backward(args);
  }
  void compressive_memory_forward(Stream& stream, const CompressiveMemoryForwardArgs& args) override {
    reference::compressive_memory_forward(stream, args);
  }
  void compressive_memory_backward(Stream& stream, const CompressiveMemoryBackwardArgs& args) override {
    reference::compressive_memory_backward(stream, args);
  }
  void memory_fold(Stream&, const MemoryFoldArgs& args) override { memory_fold_on_host(args); }
  void memory_gate_forward(Stream&, const MemoryGateForwardArgs& args) override {
    reference::memory_gate_forward(args);
  }
  void memory_gate_backward(Stream&, const MemoryGateBackwardArgs& args) override {
    reference::memory_gate_backward(args);
  }
  void swiglu_forward(Stream&, const SwigluForwardArgs& args) override { reference::swiglu_forward(args); }
  void swiglu_backward(Stream&, const SwigluBackwardArgs& args) override { reference::swiglu_backward(args); }
  void cross_entropy(Stream&, const CrossEntropyArgs& args) override { reference::cross_entropy(args); }
  void convert(Stream&, const ConvertArgs& args) override { reference::convert(args); }
  void add(Stream&, const AddArgs& args) override { reference::add(args); }
  void sum(Stream&, const SumArgs& args) override { reference::sum(args); }
  void adamw(Stream&, const AdamWArgs& args) override { reference::adamw(args); }
};

}  // namespace

std::unique_ptr<Backend> make_reference_backend(Device& device) {
  ensure(device.kind() == DeviceKind::Cpu, "the reference backend works on host memory");
  return std::make_unique<ReferenceBackend>();
}

}  // namespace rondo

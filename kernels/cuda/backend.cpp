// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/backend.hpp"

#include "kernels/cuda/operations.hpp"

namespace rondo::cuda {

namespace {

[[noreturn]] void missing(const char* operation) {
  throw DeviceError(std::string("not in this module yet: ") + operation, "", "set parallel.device = \"cpu\"");
}

class CudaBackend final : public Backend {
 public:
  std::string name() const override { return "cuda"; }

  void rms_norm_forward(Stream& stream, const RmsNormForwardArgs& args) override {
    cuda::rms_norm_forward(stream, args);
  }
  void rms_norm_backward(Stream& stream, const RmsNormBackwardArgs& args) override {
    cuda::rms_norm_backward(stream, args);
  }
  void block_attention_forward(Stream& stream, const BlockAttentionForwardArgs& args) override {
    cuda::block_attention_forward(stream, args);
  }
  void block_attention_backward(Stream& stream, const BlockAttentionBackwardArgs& args) override {
    cuda::block_attention_backward(stream, args);
  }
  void attention_delta(Stream& stream, const AttentionDeltaArgs& args) override { cuda::attention_delta(stream, args); }

  void matmul(Stream&, const MatmulArgs&) override { missing("matmul"); }
  void embedding_forward(Stream&, const EmbeddingForwardArgs&) override { missing("embedding_forward"); }
  void embedding_backward(Stream&, const EmbeddingBackwardArgs&) override { missing("embedding_backward"); }
  void qkv_split_forward(Stream&, const QkvSplitForwardArgs&) override { missing("qkv_split_forward"); }
  void qkv_split_backward(Stream&, const QkvSplitBackwardArgs&) override { missing("qkv_split_backward"); }
  void swiglu_forward(Stream&, const SwigluForwardArgs&) override { missing("swiglu_forward"); }
  void swiglu_backward(Stream&, const SwigluBackwardArgs&) override { missing("swiglu_backward"); }
  void cross_entropy(Stream&, const CrossEntropyArgs&) override { missing("cross_entropy"); }
  void convert(Stream&, const ConvertArgs&) override { missing("convert"); }
  void add(Stream&, const AddArgs&) override { missing("add"); }
  void sum(Stream&, const SumArgs&) override { missing("sum"); }
  void adamw(Stream&, const AdamWArgs&) override { missing("adamw"); }
};

}  // namespace

std::unique_ptr<Backend> make_backend(Device& device, const BackendOptions&) {
  ensure(device.kind() == DeviceKind::Cuda, "the CUDA backend works on the memory of a GPU");
  return std::make_unique<CudaBackend>();
}

}  // namespace rondo::cuda

// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/backend.hpp"

#include "kernels/cuda/block_attention.hpp"
#include "kernels/cuda/kernel_backend.hpp"
#include "kernels/cuda/matmul.hpp"

namespace rondo::cuda {

namespace {

/// Products share a workspace, so they too belong on the compute stream.
class CudaBackend final : public KernelBackend {
 public:
  CudaBackend(Device& device, const BackendOptions& options)
      : KernelBackend(device), attention_(options), matmul_(device) {}

  std::string name() const override { return "cuda"; }

  std::vector<std::string> attention_kernels(const BlockAttentionForwardArgs& block) override {
    return attention_.kernels_of(block);
  }

  void matmul(Stream& stream, const MatmulArgs& args) override { matmul_(stream, args); }
  void block_attention_forward(Stream& stream, const BlockAttentionForwardArgs& args) override {
    attention_.forward(stream, args);
  }
  void block_attention_backward(Stream& stream, const BlockAttentionBackwardArgs& args) override {
    attention_.backward(stream, args);
  }

 private:
  BlockAttention attention_;
  Matmul matmul_;
};

}  // namespace

std::unique_ptr<Backend> make_backend(Device& device, const BackendOptions& options) {
  ensure(device.kind() == DeviceKind::Cuda, "the CUDA backend works on the memory of a GPU");
  return std::make_unique<CudaBackend>(device, options);
}

}  // namespace rondo::cuda

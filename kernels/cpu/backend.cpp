// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/backend.hpp"

#include "kernels/cpu/matmul.hpp"
#include "kernels/cpu/operations.hpp"
#include "kernels/cpu/rope.hpp"

namespace rondo {

namespace {

const cpu::KernelTable& kernels_for(cpu::Isa isa) {
#if defined(__x86_64__)
  if (isa >= cpu::Isa::Avx512) return cpu::avx512_kernels();
  if (isa == cpu::Isa::Avx2) return cpu::avx2_kernels();
#endif
  return cpu::portable_kernels();
}

const cpu::AttentionKernels* bf16_attention_for(cpu::Isa isa) {
#if defined(__x86_64__)
  if (isa == cpu::Isa::Amx) return &cpu::amx_attention();
#endif
  return &kernels_for(isa).attention;
}

cpu::Context context_for(const CpuOptions& options) {
  const cpu::Isa isa = std::min(options.isa_limit, cpu::best_isa());
  const cpu::KernelTable& kernels = kernels_for(isa);
  return {.isa = isa,
          .threads = options.threads > 0 ? options.threads : omp_get_max_threads(),
          .kernels = kernels,
          .bf16_attention = bf16_attention_for(isa)};
}

class CpuBackend final : public Backend {
 public:
  CpuBackend(Device& device, const cpu::Context& context) : context_(context), matmul_(device) {}

  std::string name() const override { return "cpu (" + std::string(name_of(context_.isa)) + ")"; }

  void matmul(Stream& stream, const MatmulArgs& args) override { matmul_(context_, stream, args); }
  void rms_norm_forward(Stream& stream, const RmsNormForwardArgs& args) override {
    cpu::rms_norm_forward(context_, stream, args);
  }
  void rms_norm_backward(Stream& stream, const RmsNormBackwardArgs& args) override {
    cpu::rms_norm_backward(context_, stream, args);
  }
  void embedding_forward(Stream& stream, const EmbeddingForwardArgs& args) override {
    cpu::embedding_forward(context_, stream, args);
  }
  void embedding_backward(Stream& stream, const EmbeddingBackwardArgs& args) override {
    cpu::embedding_backward(context_, stream, args);
  }
  void qkv_split_forward(Stream& stream, const QkvSplitForwardArgs& args) override {
    rope_.split_forward(context_, stream, args);
  }
  void qkv_split_backward(Stream& stream, const QkvSplitBackwardArgs& args) override {
    rope_.split_backward(context_, stream, args);
  }
  void block_attention_forward(Stream& stream, const BlockAttentionForwardArgs& args) override {
    cpu::block_attention_forward(context_, stream, args);
  }
  void block_attention_backward(Stream& stream, const BlockAttentionBackwardArgs& args) override {
    cpu::block_attention_backward(context_, stream, args);
  }
  void attention_delta(Stream& stream, const AttentionDeltaArgs& args) override {
    cpu::attention_delta(context_, stream, args);
  }
  void memory_normaliser_forward(Stream& stream, const MemoryNormaliserForwardArgs& args) override {
    cpu::memory_normaliser_forward(context_, stream, args);
  }
  void memory_normaliser_backward(Stream& stream, const MemoryNormaliserBackwardArgs& args) override {
    cpu::memory_normaliser_backward(context_, stream, args);
  }
  void compressive_memory_forward(Stream& stream, const CompressiveMemoryForwardArgs& args) override {
    cpu::compressive_memory_forward(context_, stream, args);
  }
  void compressive_memory_backward(Stream& stream, const CompressiveMemoryBackwardArgs& args) override {
    cpu::compressive_memory_backward(context_, stream, args);
  }
  void memory_fold(Stream&, const MemoryFoldArgs& args) override { memory_fold_on_host(args); }
  void memory_gate_forward(Stream& stream, const MemoryGateForwardArgs& args) override {
    cpu::memory_gate_forward(context_, stream, args);
  }
  void memory_gate_backward(Stream& stream, const MemoryGateBackwardArgs& args) override {
    cpu::memory_gate_backward(context_, stream, args);
  }
  void swiglu_forward(Stream& stream, const SwigluForwardArgs& args) override {
    cpu::swiglu_forward(context_, stream, args);
  }
  void swiglu_backward(Stream& stream, const SwigluBackwardArgs& args) override {
    cpu::swiglu_backward(context_, stream, args);
  }
  void cross_entropy(Stream& stream, const CrossEntropyArgs& args) override {
    cpu::cross_entropy(context_, stream, args);
  }
  void convert(Stream& stream, const ConvertArgs& args) override { cpu::convert(context_, stream, args); }
  void add(Stream& stream, const AddArgs& args) override { cpu::add(context_, stream, args); }
  void sum(Stream& stream, const SumArgs& args) override { cpu::sum(context_, stream, args); }
  void adamw(Stream& stream, const AdamWArgs& args) override { cpu::adamw(context_, stream, args); }

 private:
  cpu::Context context_;
  cpu::Matmul matmul_;
  cpu::Rope rope_;
};

class CpuWorkspace final : public KernelWorkspace {
 public:
  CpuWorkspace(Device& device, const cpu::Context& context) : context_(context), matmul_(device) {}

  void matmul(const MatmulArgs& args) override { matmul_.reserve(context_, args); }
  void rms_norm_backward(const RmsNormBackwardArgs& args) override { cpu::take_scratch(args); }
  void block_attention_forward(const BlockAttentionForwardArgs& args) override { cpu::take_scratch(context_, args); }
  void block_attention_backward(const BlockAttentionBackwardArgs& args) override { cpu::take_scratch(context_, args); }
  void memory_normaliser_forward(const MemoryNormaliserForwardArgs& args) override {
    cpu::take_scratch(context_, args);
  }
  void memory_normaliser_backward(const MemoryNormaliserBackwardArgs& args) override {
    cpu::take_scratch(context_, args);
  }
  void compressive_memory_forward(const CompressiveMemoryForwardArgs& args) override {
    cpu::take_scratch(context_, args);
  }
  void compressive_memory_backward(const CompressiveMemoryBackwardArgs& args) override {
    cpu::take_scratch(context_, args);
  }

 private:
  cpu::Context context_;
  cpu::Matmul matmul_;
};

}  // namespace

std::unique_ptr<Backend> cpu::make_backend(Device& device, const Context& context) {
  ensure(device.kind() == DeviceKind::Cpu, "the cpu backend works on host memory");
  return std::make_unique<CpuBackend>(device, context);
}

std::unique_ptr<Backend> make_cpu_backend(Device& device, const CpuOptions& options) {
  return cpu::make_backend(device, context_for(options));
}

std::unique_ptr<KernelWorkspace> make_cpu_workspace(Device& device, const CpuOptions& options) {
  return std::make_unique<CpuWorkspace>(device, context_for(options));
}

}  // namespace rondo

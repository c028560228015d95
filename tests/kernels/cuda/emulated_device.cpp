// SPDX-License-Identifier: Apache-2.0
#include "tests/kernels/cuda/emulated_device.hpp"

#include <cstring>

#include "kernels/cuda/check.hpp"
#include "kernels/cuda/device.hpp"
#include "kernels/cuda/kernel_backend.hpp"
#include "tests/support/cuda_emulation/guarded_memory.hpp"

// What kernels/cuda/device.cpp and check.cpp are on a GPU.
namespace rondo::cuda {

cudaStream_t native(const Stream&) { return nullptr; }

void check(cudaError_t status, std::source_location caller) {
  if (status != cudaSuccess) {
    throw DeviceError("the emulation refuses this call",
                      std::string(caller.file_name()) + ":" + std::to_string(caller.line()));
  }
}

}  // namespace rondo::cuda

namespace rondo::test {

namespace {

class EmulatedDevice final : public Device {
 public:
  DeviceKind kind() const override { return DeviceKind::Cuda; }
  std::string name() const override { return "emulated GPU"; }
  void* allocate(std::size_t bytes) override { return emulation::allocate_guarded(bytes); }
  void free(void* memory) noexcept override { emulation::free_guarded(memory); }
  void* allocate_pinned(std::size_t bytes) override { return allocate(bytes); }
  void free_pinned(void* memory) noexcept override { free(memory); }
  void copy(Stream&, void* to, const void* from, std::size_t bytes) override { std::memmove(to, from, bytes); }
  void fill_zero(Stream&, void* to, std::size_t bytes) override { std::memset(to, 0, bytes); }
  void fill(Stream& stream, const TensorView& to, double value) override { cuda::fill(stream, to, value); }
  std::unique_ptr<Stream> make_stream(StreamRole role) override { return std::make_unique<Stream>(role); }
  std::unique_ptr<Event> make_event() override { return std::make_unique<Event>(); }
  std::unique_ptr<Event> make_timed_event() override { return make_event(); }
  void record(Event&, Stream&) override {}
  void wait(Stream&, Event&) override {}
  bool is_done(Event&) override { return true; }
  double seconds_between(Event&, Event&) override { return 0; }
  void synchronize(Stream&) override {}
};

class EmulatedBackend final : public cuda::KernelBackend {
 public:
  using KernelBackend::KernelBackend;

  std::string name() const override { return "emulated cuda"; }
  void matmul(Stream&, const MatmulArgs&) override { throw DeviceError("cublasLt cannot be emulated"); }
};

}  // namespace

std::unique_ptr<Device> make_emulated_device() { return std::make_unique<EmulatedDevice>(); }
std::unique_ptr<Backend> make_emulated_backend(Device& device) { return std::make_unique<EmulatedBackend>(device); }

}  // namespace rondo::test

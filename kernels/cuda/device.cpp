// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/device.hpp"

#include "core/log.hpp"
#include "kernels/cuda/check.hpp"
#include "kernels/cuda/operations.hpp"

namespace rondo::cuda {

namespace {

// Timing is off: an event that orders streams is cheaper without.
class CudaEvent final : public Event {
 public:
  CudaEvent() { check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming)); }
  ~CudaEvent() override {
    if (cudaEventDestroy(event_) != cudaSuccess) log::warning("an event of CUDA could not be released");
  }
  cudaEvent_t native() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

cudaEvent_t native_event(const Event& event) {
  const auto* cuda_event = dynamic_cast<const CudaEvent*>(&event);
  ensure(cuda_event != nullptr, "an event is used with the device that made it");
  return cuda_event->native();
}

}  // namespace

CudaStream::CudaStream(StreamRole role) : Stream(role) {
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
}

CudaStream::~CudaStream() {
  if (cudaStreamDestroy(stream_) != cudaSuccess) log::warning("a stream of CUDA could not be released");
}

cudaStream_t native(const Stream& stream) {
  const auto* cuda_stream = dynamic_cast<const CudaStream*>(&stream);
  ensure(cuda_stream != nullptr, "a stream is used with the device that made it");
  return cuda_stream->native();
}

CudaDevice::CudaDevice(int ordinal) {
  check(cudaSetDevice(ordinal));
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, ordinal));
  name_ = properties.name;
}

void* CudaDevice::allocate(std::size_t bytes) {
  void* memory = nullptr;
  check(cudaMalloc(&memory, bytes == 0 ? 1 : bytes));  // aligned to 256 bytes
  return memory;
}

void CudaDevice::free(void* memory) noexcept {
  if (cudaFree(memory) != cudaSuccess) log::warning("memory of the GPU could not be released");
}

void CudaDevice::copy(Stream& stream, void* to, const void* from, std::size_t bytes) {
  if (bytes != 0 && to != from) check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, native(stream)));
}

void CudaDevice::fill_zero(Stream& stream, void* to, std::size_t bytes) {
  if (bytes != 0) check(cudaMemsetAsync(to, 0, bytes, native(stream)));
}

void CudaDevice::fill(Stream& stream, const TensorView& to, double value) { cuda::fill(stream, to, value); }

std::unique_ptr<Stream> CudaDevice::make_stream(StreamRole role) { return std::make_unique<CudaStream>(role); }
std::unique_ptr<Event> CudaDevice::make_event() { return std::make_unique<CudaEvent>(); }

void CudaDevice::record(Event& event, Stream& stream) { check(cudaEventRecord(native_event(event), native(stream))); }
void CudaDevice::wait(Stream& stream, Event& event) {
  check(cudaStreamWaitEvent(native(stream), native_event(event), 0));
}
void CudaDevice::synchronize(Stream& stream) { check(cudaStreamSynchronize(native(stream))); }

}  // namespace rondo::cuda

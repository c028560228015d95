// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/device.hpp"

#include <nvtx3/nvToolsExt.h>
#include <sched.h>

#include "core/trace.hpp"
#include "kernels/cuda/check.hpp"
#include "kernels/cuda/check_release.hpp"
#include "kernels/cuda/operations.hpp"

namespace rondo::cuda {

namespace {

class CudaEvent final : public Event {
 public:
  /// @param flags an event that orders streams is cheaper without its time
  explicit CudaEvent(unsigned flags) { check(cudaEventCreateWithFlags(&event_, flags)); }
  ~CudaEvent() override { check_release(cudaEventDestroy(event_), "an event of CUDA"); }
  cudaEvent_t native() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

cudaEvent_t native_event(const Event& event) {
  const auto* cuda_event = dynamic_cast<const CudaEvent*>(&event);
  ensure(cuda_event != nullptr, "an event is used with the device that made it");
  return cuda_event->native();
}

// "Not ready" is an answer, but CUDA also keeps it as its last error, which the next launch would take for its own.
bool is_ready(cudaError_t status) {
  if (status != cudaErrorNotReady) check(status);
  if (status == cudaErrorNotReady) static_cast<void>(cudaGetLastError());
  return status == cudaSuccess;
}

}  // namespace

// What moves data comes before what computes: a transfer that starts late delays a peer too.
CudaStream::CudaStream(StreamRole role) : Stream(role) {
  int lowest = 0, highest = 0;
  check(cudaDeviceGetStreamPriorityRange(&lowest, &highest));
  check(cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking, role == StreamRole::Compute ? lowest : highest));
}

CudaStream::~CudaStream() { check_release(cudaStreamDestroy(stream_), "a stream of CUDA"); }

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
  observe_traces({.begin = [](const char* name) { nvtxRangePushA(name); }, .end = [] { nvtxRangePop(); }});
}

void* CudaDevice::allocate(std::size_t bytes) {
  void* memory = nullptr;
  check(cudaMalloc(&memory, bytes == 0 ? 1 : bytes));  // aligned to 256 bytes
  return memory;
}

void CudaDevice::free(void* memory) noexcept { check_release(cudaFree(memory), "memory of the GPU"); }

void* CudaDevice::allocate_pinned(std::size_t bytes) {
  void* memory = nullptr;
  check(cudaMallocHost(&memory, bytes == 0 ? 1 : bytes));
  return memory;
}

void CudaDevice::free_pinned(void* memory) noexcept { check_release(cudaFreeHost(memory), "pinned host memory"); }

void CudaDevice::copy(Stream& stream, void* to, const void* from, std::size_t bytes) {
  if (bytes != 0 && to != from) check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, native(stream)));
}

void CudaDevice::fill_zero(Stream& stream, void* to, std::size_t bytes) {
  if (bytes != 0) check(cudaMemsetAsync(to, 0, bytes, native(stream)));
}

void CudaDevice::fill(Stream& stream, const TensorView& to, double value) { cuda::fill(stream, to, value); }

std::unique_ptr<Stream> CudaDevice::make_stream(StreamRole role) { return std::make_unique<CudaStream>(role); }
std::unique_ptr<Event> CudaDevice::make_event() { return std::make_unique<CudaEvent>(cudaEventDisableTiming); }
std::unique_ptr<Event> CudaDevice::make_timed_event() { return std::make_unique<CudaEvent>(cudaEventDefault); }

void CudaDevice::record(Event& event, Stream& stream) { check(cudaEventRecord(native_event(event), native(stream))); }
void CudaDevice::wait(Stream& stream, Event& event) {
  check(cudaStreamWaitEvent(native(stream), native_event(event), 0));
}

bool CudaDevice::is_done(Event& event) { return is_ready(cudaEventQuery(native_event(event))); }

double CudaDevice::seconds_between(Event& from, Event& to) {
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, native_event(from), native_event(to)));
  return 1e-3 * static_cast<double>(milliseconds);
}

// Asks in turns, so that transfers through the host go on and the failure of a peer is seen.
void CudaDevice::synchronize(Stream& stream) {
  while (!is_ready(cudaStreamQuery(native(stream)))) {
    stream.progress();
    sched_yield();
  }
}

}  // namespace rondo::cuda

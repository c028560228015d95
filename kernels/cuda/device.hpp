// SPDX-License-Identifier: Apache-2.0
// One GPU: memory, asynchronous copies, streams and events of CUDA.
#pragma once

#include <cuda_runtime_api.h>

#include "core/device.hpp"

namespace rondo::cuda {

class CudaStream final : public Stream {
 public:
  explicit CudaStream(StreamRole role);
  ~CudaStream() override;
  cudaStream_t native() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

/// @pre the stream was made by a CudaDevice
cudaStream_t native(const Stream& stream);

class CudaDevice final : public Device {
 public:
  /// Makes the GPU the current one of the calling thread, the only thread that may use this object.
  explicit CudaDevice(int ordinal);

  DeviceKind kind() const override { return DeviceKind::Cuda; }
  std::string name() const override { return name_; }
  void* allocate(std::size_t bytes) override;
  void free(void* memory) noexcept override;
  void* allocate_pinned(std::size_t bytes) override;
  void free_pinned(void* memory) noexcept override;
  void copy(Stream& stream, void* to, const void* from, std::size_t bytes) override;
  void fill_zero(Stream& stream, void* to, std::size_t bytes) override;
  void fill(Stream& stream, const TensorView& to, double value) override;
  std::unique_ptr<Stream> make_stream(StreamRole role) override;
  std::unique_ptr<Event> make_event() override;
  std::unique_ptr<Event> make_timed_event() override;
  void record(Event& event, Stream& stream) override;
  void wait(Stream& stream, Event& event) override;
  bool is_done(Event& event) override;
  double seconds_between(Event& from, Event& to) override;
  void synchronize(Stream& stream) override;

 private:
  std::string name_;
};

}  // namespace rondo::cuda

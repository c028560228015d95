// SPDX-License-Identifier: Apache-2.0
// A device, its streams and events, and owned device memory. CpuDevice is here; the CUDA device is in the GPU module.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "core/memory_use.hpp"
#include "core/tensor_view.hpp"

namespace rondo {

/// Alignment in bytes of allocate() and of every piece of an arena: a cache line, a vector register.
inline constexpr std::size_t kMemoryAlignment = 64;

enum class DeviceKind { Cpu, Cuda };
/// The runtime alone makes the streams of its device: once, at most one per role.
enum class StreamRole { Compute, Ring, Reduce, Copy };

/// An ordered queue of work. On a CPU the work has run when the call returns.
class Stream {
 public:
  explicit Stream(StreamRole role) : role_(role) {}
  virtual ~Stream() = default;
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  StreamRole role() const { return role_; }
  /// Long CPU kernels call this between tiles, at most 100 us apart, from the thread that called the kernel, so that
  /// transfers progress while blocks are computed.
  void progress() const {
    if (progress_) progress_();
  }
  void set_progress(std::function<void()> hook) { progress_ = std::move(hook); }

 private:
  StreamRole role_;
  std::function<void()> progress_;
};

/// A point in a stream that another stream can wait for.
class Event {
 public:
  Event() = default;
  virtual ~Event() = default;
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
};

/// @throws DeviceError from every call that fails on the device
class Device {
 public:
  virtual ~Device() = default;

  virtual DeviceKind kind() const = 0;
  virtual std::string name() const = 0;
  /// At least 64-byte aligned. Called by Buffer, which counts it, and by callers that only test whether there is room.
  virtual void* allocate(std::size_t bytes) = 0;
  virtual void free(void* memory) noexcept = 0;
  /// Pinned host memory, so that copies are asynchronous; ordinary memory on a CPU. HostBuffer is the only caller.
  virtual void* allocate_pinned(std::size_t bytes) = 0;
  virtual void free_pinned(void* memory) noexcept = 0;

  /// Asynchronous on `stream`; either side may be host or device memory. Host memory that is not pinned has been read, or
  /// written, when the call returns.
  virtual void copy(Stream& stream, void* to, const void* from, std::size_t bytes) = 0;
  virtual void fill_zero(Stream& stream, void* to, std::size_t bytes) = 0;
  /// Every element of a floating-point tensor = value.
  virtual void fill(Stream& stream, const TensorView& to, double value) = 0;

  virtual std::unique_ptr<Stream> make_stream(StreamRole role) = 0;
  virtual std::unique_ptr<Event> make_event() = 0;
  /// An event that also records the time at which the stream reached it.
  virtual std::unique_ptr<Event> make_timed_event() = 0;
  virtual void record(Event& event, Stream& stream) = 0;
  /// Work given to `stream` after this call starts after the event.
  virtual void wait(Stream& stream, Event& event) = 0;
  /// Whether the stream has reached the event. Never waits.
  virtual bool is_done(Event& event) = 0;
  /// From one timed event to a later one. @pre both are done  @returns 0 on a CPU, where the host measures time
  virtual double seconds_between(Event& from, Event& to) = 0;
  /// The host waits until all work of the stream is done; it calls the stream's progress() meanwhile.
  virtual void synchronize(Stream& stream) = 0;

  MemoryLedger& memory() { return memory_; }

 private:
  MemoryLedger memory_;
};

class CpuDevice final : public Device {
 public:
  CpuDevice();
  DeviceKind kind() const override { return DeviceKind::Cpu; }
  std::string name() const override { return "cpu"; }
  void* allocate(std::size_t bytes) override;
  void free(void* memory) noexcept override;
  void* allocate_pinned(std::size_t bytes) override { return allocate(bytes); }
  void free_pinned(void* memory) noexcept override { free(memory); }
  void copy(Stream& stream, void* to, const void* from, std::size_t bytes) override;
  void fill_zero(Stream& stream, void* to, std::size_t bytes) override;
  void fill(Stream& stream, const TensorView& to, double value) override;
  std::unique_ptr<Stream> make_stream(StreamRole role) override;
  std::unique_ptr<Event> make_event() override;
  std::unique_ptr<Event> make_timed_event() override { return make_event(); }
  void record(Event& event, Stream& stream) override;
  void wait(Stream& stream, Event& event) override;
  bool is_done(Event&) override { return true; }
  double seconds_between(Event&, Event&) override { return 0; }
  void synchronize(Stream& stream) override;
};

/// Owned device memory, counted in the device's ledger. Move-only; contents are initially undefined.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Device& device, std::size_t bytes, MemoryUse use);
  Buffer(Device& device, DType dtype, const Shape& shape, MemoryUse use);
  ~Buffer();
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;

  void* data() const { return data_; }
  std::size_t size_bytes() const { return bytes_; }
  /// The tensor this buffer was made for. @pre made with a shape
  const TensorView& view() const { return view_; }

 private:
  void release() noexcept;

  Device* device_ = nullptr;
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
  MemoryUse use_ = MemoryUse::Workspace;
  TensorView view_;
};

/// Owned host memory, pinned where the device can use that. Move-only; contents are initially undefined.
class HostBuffer {
 public:
  HostBuffer() = default;
  HostBuffer(Device& device, std::size_t bytes)
      : data_(static_cast<std::byte*>(device.allocate_pinned(bytes)), Free{&device}), bytes_(bytes) {}

  std::byte* data() const { return data_.get(); }
  std::size_t size_bytes() const { return bytes_; }

 private:
  struct Free {
    Device* device;
    void operator()(std::byte* memory) const noexcept { device->free_pinned(memory); }
  };
  std::unique_ptr<std::byte, Free> data_{nullptr, Free{nullptr}};
  std::size_t bytes_ = 0;
};

}  // namespace rondo

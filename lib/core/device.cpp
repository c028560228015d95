// SPDX-License-Identifier: Apache-2.0
#include "core/device.hpp"

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace rondo {

namespace {

class CpuEvent final : public Event {};

}  // namespace

CpuDevice::CpuDevice() {
#ifdef __GLIBC__
  // By default glibc moves large blocks from mmap to its heap once one of them has been freed, and the resident memory of a
  // rank then depends on the order in which threads allocate: 76 or 88 MB for the same run. An explicit threshold stays fixed.
  constexpr int kLeastMappedBytes = 1 << 20;
  static_cast<void>(mallopt(M_MMAP_THRESHOLD, kLeastMappedBytes));
#endif
}

void* CpuDevice::allocate(std::size_t bytes) {
  const std::size_t rounded = (bytes + kMemoryAlignment - 1) / kMemoryAlignment * kMemoryAlignment;
  void* memory = std::aligned_alloc(kMemoryAlignment, rounded == 0 ? kMemoryAlignment : rounded);
  if (memory == nullptr) {
    throw DeviceError("cannot allocate " + std::to_string(bytes) + " bytes of host memory", "",
                      "use a shorter sequence, more ranks or a smaller model");
  }
  return memory;
}

void CpuDevice::free(void* memory) noexcept { std::free(memory); }

void CpuDevice::copy(Stream&, void* to, const void* from, std::size_t bytes) {
  if (bytes != 0 && to != from) std::memcpy(to, from, bytes);
}

void CpuDevice::fill_zero(Stream&, void* to, std::size_t bytes) {
  if (bytes != 0) std::memset(to, 0, bytes);
}

void CpuDevice::fill(Stream&, const TensorView& to, double value) {
  switch (to.dtype) {
    case DType::Fp64: std::ranges::fill(to.span<double>(), value); return;
    case DType::Fp32: std::ranges::fill(to.span<float>(), static_cast<float>(value)); return;
    case DType::Bf16: std::ranges::fill(to.span<bf16>(), bf16(static_cast<float>(value))); return;
    case DType::Int32:
    case DType::Int64: break;
  }
  throw Error(ErrorKind::Internal, "fill() is for floating-point tensors");
}

std::unique_ptr<Stream> CpuDevice::make_stream(StreamRole role) { return std::make_unique<Stream>(role); }
std::unique_ptr<Event> CpuDevice::make_event() { return std::make_unique<CpuEvent>(); }
void CpuDevice::record(Event&, Stream&) {}
void CpuDevice::wait(Stream&, Event&) {}
void CpuDevice::synchronize(Stream&) {}

Buffer::Buffer(Device& device, std::size_t bytes, MemoryUse use) : device_(&device), bytes_(bytes), use_(use) {
  if (bytes == 0) return;
  data_ = device.allocate(bytes);
  device.memory().add(use, bytes);
}

Buffer::Buffer(Device& device, DType dtype, const Shape& shape, MemoryUse use)
    : Buffer(device, static_cast<std::size_t>(shape.count()) * size_of(dtype), use) {
  view_ = {data_, dtype, shape};
}

Buffer::~Buffer() { release(); }

Buffer::Buffer(Buffer&& other) noexcept
    : device_(other.device_),
      data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)),
      use_(other.use_),
      view_(std::exchange(other.view_, {})) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  if (this != &other) {
    release();
    device_ = other.device_;
    data_ = std::exchange(other.data_, nullptr);
    bytes_ = std::exchange(other.bytes_, 0);
    use_ = other.use_;
    view_ = std::exchange(other.view_, {});
  }
  return *this;
}

void Buffer::release() noexcept {
  if (data_ == nullptr) return;
  device_->memory().remove(use_, bytes_);
  device_->free(data_);
  data_ = nullptr;
}

}  // namespace rondo

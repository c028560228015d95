// SPDX-License-Identifier: Apache-2.0
// A device without memory, for dry runs: allocations have addresses that no process can map, and copies and fills do nothing.
#pragma once

#include <cstdint>

#include "core/device.hpp"

namespace rondo {

class DryDevice final : public Device {
 public:
  /// @param kind of the device that it stands in for
  explicit DryDevice(DeviceKind kind) : kind_(kind) {}

  DeviceKind kind() const override { return kind_; }
  std::string name() const override { return "dry"; }
  /// Every allocation has its own addresses, which fault when read or written.
  void* allocate(std::size_t bytes) override;
  void free(void*) noexcept override {}
  /// Real memory, filled with zeros, because the host reads what it fetches.
  void* allocate_pinned(std::size_t bytes) override;
  void free_pinned(void* memory) noexcept override;

  void copy(Stream&, void*, const void*, std::size_t) override {}
  void fill_zero(Stream&, void*, std::size_t) override {}
  void fill(Stream&, const TensorView&, double) override {}
  std::unique_ptr<Stream> make_stream(StreamRole role) override { return std::make_unique<Stream>(role); }
  std::unique_ptr<Event> make_event() override { return std::make_unique<Event>(); }
  std::unique_ptr<Event> make_timed_event() override { return make_event(); }
  void record(Event&, Stream&) override {}
  void wait(Stream&, Event&) override {}
  bool is_done(Event&) override { return true; }
  double seconds_between(Event&, Event&) override { return 0; }
  void synchronize(Stream&) override {}

 private:
  DeviceKind kind_;
  std::uintptr_t next_ = std::uintptr_t{1} << 56;  // above the user address space of any processor
};

}  // namespace rondo

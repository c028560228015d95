// SPDX-License-Identifier: Apache-2.0
// A device without memory, for runs that only count: allocation gives addresses that no process has, copies and fills do
// nothing.
#pragma once

#include <cstdint>

#include "core/device.hpp"

namespace rondo {

class DryDevice final : public Device {
 public:
  /// @param kind of the device that it stands for
  explicit DryDevice(DeviceKind kind) : kind_(kind) {}

  DeviceKind kind() const override { return kind_; }
  std::string name() const override { return "dry"; }
  /// Every allocation has addresses of its own, which fault when they are read or written.
  void* allocate(std::size_t bytes) override;
  void free(void*) noexcept override {}
  /// Real memory, of zeros: the host reads what it fetched.
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
  std::uintptr_t next_ = std::uintptr_t{1} << 56;  // beyond what any processor translates for a process
};

}  // namespace rondo

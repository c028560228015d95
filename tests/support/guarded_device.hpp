// SPDX-License-Identifier: Apache-2.0
// A mock device for any machine: its memory is accessible to the device's own operations only, so that host code which touches
// it faults and is named, and its streams copy as late as a GPU could.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "core/device.hpp"
#include "kernels/backend.hpp"
#include "kernels/backend_options.hpp"

namespace rondo::test {

/// One region of addresses, which cannot be read or written outside of an Open scope.
class GuardedMemory {
 public:
  explicit GuardedMemory(std::size_t bytes);
  ~GuardedMemory();
  GuardedMemory(const GuardedMemory&) = delete;
  GuardedMemory& operator=(const GuardedMemory&) = delete;

  /// Every byte is initially 0xff, so values that were never written are NaN. @throws DeviceError if the region is full
  void* allocate(std::size_t bytes);
  void free(void* memory);
  bool holds(const void* address) const;

  class Open {
   public:
    explicit Open(GuardedMemory& memory) : memory_(memory) {
      if (memory_.num_open_++ == 0) memory_.protect(true);
    }
    ~Open() {
      if (--memory_.num_open_ == 0) memory_.protect(false);
    }
    Open(const Open&) = delete;
    Open& operator=(const Open&) = delete;

   private:
    GuardedMemory& memory_;
  };

 private:
  void protect(bool is_open) const;

  std::byte* first_;
  std::size_t bytes_, used_bytes_ = 0;
  int num_open_ = 0;
  std::map<void*, std::size_t> sizes_;
  std::multimap<std::size_t, void*> free_;
};

/// Enqueued work is not performed until a caller waits for it.
class GuardedStream final : public Stream {
 public:
  GuardedStream(StreamRole role, std::set<GuardedStream*>& alive) : Stream(role), alive_(alive) { alive_.insert(this); }
  ~GuardedStream() override { alive_.erase(this); }
  void push(std::function<void()> work) { queue_.push_back(std::move(work)); }
  /// Performs the oldest piece of work. @returns whether there was any
  bool step();
  void drain() {
    while (step()) {
    }
  }

 private:
  std::set<GuardedStream*>& alive_;
  std::deque<std::function<void()>> queue_;
};

class GuardedDevice final : public Device {
 public:
  explicit GuardedDevice(std::size_t memory_bytes = std::size_t{1} << 30);

  DeviceKind kind() const override { return DeviceKind::Cuda; }
  std::string name() const override { return "guarded"; }
  void* allocate(std::size_t bytes) override;
  void free(void* memory) noexcept override;
  void* allocate_pinned(std::size_t bytes) override;
  void free_pinned(void* memory) noexcept override;
  void copy(Stream& stream, void* to, const void* from, std::size_t bytes) override;
  void fill_zero(Stream& stream, void* to, std::size_t bytes) override;
  void fill(Stream& stream, const TensorView& to, double value) override;
  std::unique_ptr<Stream> make_stream(StreamRole role) override;
  std::unique_ptr<Event> make_event() override;
  std::unique_ptr<Event> make_timed_event() override {
    ++num_timed_events_;
    return make_event();
  }
  void record(Event& event, Stream& stream) override;
  void wait(Stream& stream, Event& event) override;
  bool is_done(Event& event) override;
  /// One second for every event that completed in between.
  double seconds_between(Event& from, Event& to) override;
  void synchronize(Stream& stream) override;

  GuardedMemory& guarded_memory() { return memory_; }
  /// The newest device, in place of CUDA's current device.
  static GuardedDevice& current();
  std::uint64_t num_synchronizations() const { return num_synchronizations_; }
  /// Allocation fails after the backend has performed so many operations.
  void be_full_after(std::uint64_t num_operations) { full_after_ = num_operations; }
  void count_operation() { ++num_operations_; }
  /// The number of timed events made so far.
  std::uint64_t num_timed_events() const { return num_timed_events_; }

 private:
  /// Whether it is pinned host memory, which the device may read and write after the call.
  bool is_pinned(const void* address) const;

  GuardedMemory memory_;
  CpuDevice host_;
  std::set<GuardedStream*> streams_;
  std::map<const std::byte*, std::size_t> pinned_;
  std::uint64_t full_after_ = std::numeric_limits<std::uint64_t>::max(), num_operations_ = 0;
  std::uint64_t num_synchronizations_ = 0, num_timed_events_ = 0;
};

/// Runs the host's backends on memory of a GuardedDevice: `reference` for fp64, else `cpu`.
std::unique_ptr<Backend> make_guarded_backend(Device& device, const BackendOptions& options = {});

}  // namespace rondo::test

// SPDX-License-Identifier: Apache-2.0
// What the streams of a GPU do, and when: timed events around what each is given, read where the host has waited anyway. While
// one is kept, the host's scopes are also scopes of the stream that computes, under the same names.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <vector>

#include "core/device.hpp"
#include "core/trace.hpp"

namespace rondo {

class DeviceTrace {
 public:
  /// Scopes are kept from now on, until this ends; one is kept at a time. Waits once for the first of the streams, that of the
  /// arithmetic, to tie the device's clock to the host's. All outlive this.
  DeviceTrace(Device& device, const std::vector<Stream*>& streams);
  ~DeviceTrace();
  DeviceTrace(const DeviceTrace&) = delete;
  DeviceTrace& operator=(const DeviceTrace&) = delete;

  /// Waits for all streams. @returns a track for each, its events in the order of their begins; scopes that are open are left out
  std::vector<TraceTrack> take();

 private:
  friend class StreamScope;
  friend void read_device_trace();

  /// Events that were read are gone.
  struct Slice {
    const char* name;
    std::unique_ptr<Event> begin, end;
    double begin_s = 0, end_s = 0;  // since the base
    bool is_open = true;

    bool is_read() const { return !is_open && !begin && !end; }
  };
  struct Track {
    Stream* stream;
    std::vector<Slice> slices;
    std::vector<std::size_t> open;  // of the slices, outermost first
    std::size_t first_unread = 0;
  };

  /// @param stream null: that of the arithmetic. @returns null for one that has no track
  Track* track_of(const Stream* stream);
  void begin(const Stream* stream, const char* name);
  void end(const Stream* stream);
  /// Never waits.
  void read();
  void read_if_done(std::unique_ptr<Event>& event, double& seconds);
  std::unique_ptr<Event> recorded(Stream& stream);
  void make_event();

  Device& device_;
  std::vector<Track> tracks_;
  std::vector<std::unique_ptr<Event>> spare_events_;
  std::size_t num_taken_ = 0;  // events, since the outermost scope began
  // One base for all: times are floats of milliseconds, 4 us apart after a minute.
  std::unique_ptr<Event> base_;
  std::chrono::steady_clock::time_point base_time_;
};

/// Called where the host has waited for the stream of the arithmetic: reads the times of what is over, and never waits.
/// Nothing where no DeviceTrace is kept.
void read_device_trace();

}  // namespace rondo

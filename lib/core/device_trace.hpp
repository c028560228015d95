// SPDX-License-Identifier: Apache-2.0
// Records what the streams of a GPU do and when: timed events around the work that each stream is given, read where the host
// has waited anyway. While a DeviceTrace exists, the host's scopes are also scopes of the compute stream, under the same names.
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
  /// Records scopes until it is destroyed; only one DeviceTrace may exist at a time. Waits once for the first stream, which
  /// must be the compute stream, to align the device's clock with the host's. The device and the streams must outlive it.
  DeviceTrace(Device& device, const std::vector<Stream*>& streams);
  ~DeviceTrace();
  DeviceTrace(const DeviceTrace&) = delete;
  DeviceTrace& operator=(const DeviceTrace&) = delete;

  /// Waits for all streams. @returns one track per stream, its events ordered by begin; scopes still open are left out
  std::vector<TraceTrack> take();

 private:
  friend class StreamScope;
  friend void read_device_trace();

  /// `begin` and `end` are null once they have been read.
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
    std::vector<std::size_t> open;  // indices of open slices, outermost first
    std::size_t first_unread = 0;
  };

  /// @param stream null: the compute stream. @returns null if the stream has no track
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
  std::size_t num_taken_ = 0;  // events taken since the outermost scope began
  // One base for all tracks. Times are milliseconds in fp32, so after a minute their resolution is 4 us.
  std::unique_ptr<Event> base_;
  std::chrono::steady_clock::time_point base_time_;
};

/// Called where the host has waited for the compute stream: reads the times of finished events, and never waits.
/// Does nothing if no DeviceTrace exists.
void read_device_trace();

}  // namespace rondo

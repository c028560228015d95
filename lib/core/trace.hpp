// SPDX-License-Identifier: Apache-2.0
// Region timers: a TraceScope adds its wall time to a region named file.function. The table is printed at the end of a run;
// on request every scope is kept as an event, with its begin.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace rondo {

struct TraceRegion {
  const char* name;
  std::uint64_t calls = 0;
  double total_s = 0;
};

struct TraceEvent {
  const char* name;
  std::chrono::steady_clock::time_point start;
  double duration_s = 0;
};

/// What one thread, or one stream of a device, did.
struct TraceTrack {
  std::string name;
  std::vector<TraceEvent> events;
};

/// The regions entered so far by this process, in order of first entry. One thread only: the one that drives the device.
std::vector<TraceRegion>& trace_regions();

class Stream;
class DeviceTrace;

/// What a stream is given while this lives; kept while a DeviceTrace is, else nothing.
class StreamScope {
 public:
  /// @param name as of a TraceScope
  StreamScope(const char* name, const Stream& stream) : StreamScope(name, &stream) {}
  /// Of the stream of the arithmetic.
  explicit StreamScope(const char* name) : StreamScope(name, nullptr) {}
  ~StreamScope();
  StreamScope(const StreamScope&) = delete;
  StreamScope& operator=(const StreamScope&) = delete;

 private:
  StreamScope(const char* name, const Stream* stream);

  DeviceTrace* trace_;
  const Stream* stream_;
};

enum class TraceOf {
  HostAndDevice,  ///< the host, and what it gives to the stream of the arithmetic meanwhile
  Host,
};

class TraceScope {
 public:
  /// @param name a string literal, "file.function"
  explicit TraceScope(const char* name, TraceOf whose = TraceOf::HostAndDevice);
  ~TraceScope();
  TraceScope(const TraceScope&) = delete;
  TraceScope& operator=(const TraceScope&) = delete;

 private:
  const char* name_;
  std::chrono::steady_clock::time_point start_;
  std::optional<StreamScope> on_device_;
};

/// Told of every scope that begins and ends from now on, by its thread; for a profiler. Functions that may be null.
struct TraceObserver {
  void (*begin)(const char* name) = nullptr;
  void (*end)() = nullptr;
};
void observe_traces(const TraceObserver& observer);

/// The scopes that are open now, outermost first: "a > b > c". Any thread may ask.
std::string open_scopes();

/// Whether scopes that end from now on are kept as events. Off at first.
void keep_trace_events(bool keep);
/// The events kept so far, in order of their ends; none are kept afterwards.
std::vector<TraceEvent> take_trace_events();

/// One line a region: name, calls, total, mean.
std::string trace_table();

}  // namespace rondo

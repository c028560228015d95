// SPDX-License-Identifier: Apache-2.0
// Region timers: a TraceScope adds its wall time to a region named file.function. The table is printed at the end of a run;
// on request every scope is also kept as an event with its start time.
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

/// The events of one thread, or of one stream of a device.
struct TraceTrack {
  std::string name;
  std::vector<TraceEvent> events;
};

/// The regions entered so far by this process, in order of first entry. Only for the thread that drives the device.
std::vector<TraceRegion>& trace_regions();

class Stream;
class DeviceTrace;

/// Marks the work that a stream is given during its lifetime. Without a DeviceTrace it does nothing.
class StreamScope {
 public:
  /// @param name as for TraceScope
  StreamScope(const char* name, const Stream& stream) : StreamScope(name, &stream) {}
  /// For the compute stream.
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
  HostAndDevice,  ///< the host, and the work that it gives to the compute stream meanwhile
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

/// Called for every scope that begins or ends, on its thread; for profilers. Either function may be null.
struct TraceObserver {
  void (*begin)(const char* name) = nullptr;
  void (*end)() = nullptr;
};
void observe_traces(const TraceObserver& observer);

/// The scopes that are open now, outermost first: "a > b > c". Any thread may call it.
std::string open_scopes();

/// Sets whether scopes that end after this call are kept as events. Off by default.
void keep_trace_events(bool keep);
/// Returns the events kept so far, in order of their ends, and stops keeping them.
std::vector<TraceEvent> take_trace_events();

/// One line per region: name, calls, total, mean.
std::string trace_table();

}  // namespace rondo

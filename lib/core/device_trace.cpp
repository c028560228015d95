// SPDX-License-Identifier: Apache-2.0
#include "core/device_trace.hpp"

#include <algorithm>
#include <utility>

#include "core/log.hpp"

namespace rondo {

namespace {

DeviceTrace* kept_trace = nullptr;

std::string name_of(StreamRole role) {
  switch (role) {
    case StreamRole::Compute: return "GPU: compute";
    case StreamRole::Ring: return "GPU: ring";
    case StreamRole::Reduce: return "GPU: reduce";
    case StreamRole::Copy: return "GPU: copy";
  }
  return "?";
}

}  // namespace

DeviceTrace::DeviceTrace(Device& device, const std::vector<Stream*>& streams)
    : device_(device), base_(device.make_timed_event()) {
  ensure(kept_trace == nullptr && !streams.empty(), "one trace of a device is kept at a time");
  for (Stream* stream : streams) tracks_.push_back({.stream = stream, .slices = {}, .open = {}});
  device_.synchronize(*streams.front());
  device_.record(*base_, *streams.front());  // completes immediately: the stream is idle
  base_time_ = std::chrono::steady_clock::now();
  kept_trace = this;
}

DeviceTrace::~DeviceTrace() { kept_trace = nullptr; }

std::vector<TraceTrack> DeviceTrace::take() {
  for (const Track& track : tracks_) device_.synchronize(*track.stream);
  read();
  std::vector<TraceTrack> list;
  using Ticks = std::chrono::steady_clock::duration;
  for (Track& track : tracks_) {
    TraceTrack& taken = list.emplace_back(TraceTrack{name_of(track.stream->role()), {}});
    for (const Slice& slice : track.slices) {
      if (!slice.is_read()) continue;
      const auto since_base = std::chrono::duration_cast<Ticks>(std::chrono::duration<double>(slice.begin_s));
      taken.events.push_back({slice.name, base_time_ + since_base, slice.end_s - slice.begin_s});
    }
    track.slices.clear();
    track.open.clear();
    track.first_unread = 0;
  }
  return list;
}

DeviceTrace::Track* DeviceTrace::track_of(const Stream* stream) {
  if (stream == nullptr) return &tracks_.front();
  const auto found = std::ranges::find(tracks_, stream, &Track::stream);
  return found == tracks_.end() ? nullptr : &*found;
}

void DeviceTrace::begin(const Stream* stream, const char* name) {
  Track* track = track_of(stream);
  if (track == nullptr) return;
  if (track == &tracks_.front() && track->open.empty()) num_taken_ = 0;
  track->open.push_back(track->slices.size());
  track->slices.push_back({.name = name, .begin = recorded(*track->stream), .end = nullptr});
}

void DeviceTrace::end(const Stream* stream) {
  Track* track = track_of(stream);
  if (track == nullptr || track->open.empty()) return;  // it began before the last take()
  Slice& slice = track->slices[track->open.back()];
  track->open.pop_back();
  slice.end = recorded(*track->stream);
  slice.is_open = false;
  if (!track->open.empty() || track != &tracks_.front()) return;
  // A step is over: keep as many spare events as it took, so that the next step makes none while some of these are pending.
  while (spare_events_.size() < num_taken_) make_event();
}

void DeviceTrace::read() {
  for (Track& track : tracks_) {
    for (std::size_t i = track.first_unread; i < track.slices.size(); ++i) {
      read_if_done(track.slices[i].begin, track.slices[i].begin_s);
      read_if_done(track.slices[i].end, track.slices[i].end_s);
    }
    while (track.first_unread < track.slices.size() && track.slices[track.first_unread].is_read()) ++track.first_unread;
  }
}

void DeviceTrace::read_if_done(std::unique_ptr<Event>& event, double& seconds) {
  if (!event || !device_.is_done(*event)) return;
  seconds = device_.seconds_between(*base_, *event);
  spare_events_.push_back(std::move(event));
}

std::unique_ptr<Event> DeviceTrace::recorded(Stream& stream) {
  if (spare_events_.empty()) make_event();
  std::unique_ptr<Event> event = std::move(spare_events_.back());
  spare_events_.pop_back();
  ++num_taken_;
  device_.record(*event, stream);
  return event;
}

void DeviceTrace::make_event() { spare_events_.push_back(device_.make_timed_event()); }

void read_device_trace() {
  if (kept_trace != nullptr) kept_trace->read();
}

StreamScope::StreamScope(const char* name, const Stream* stream) : trace_(kept_trace), stream_(stream) {
  if (trace_ != nullptr) trace_->begin(stream_, name);
}

StreamScope::~StreamScope() {
  if (trace_ == nullptr || trace_ != kept_trace) return;
  try {
    trace_->end(stream_);
  } catch (const std::exception& error) {  // the device failed: the next call of the step reports it
    log::debug("the trace lacks an end: {}", error.what());
  }
}

}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
#include "core/trace.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <spdlog/fmt/fmt.h>
#include <utility>

namespace rondo {

namespace {

struct KeptEvents {
  bool keep = false;
  std::vector<TraceEvent> events;
};

// The names of the open scopes; written by the thread that drives the device, read by any.
constexpr int kMostOpen = 16;
std::array<std::atomic<const char*>, kMostOpen> open_names{};
std::atomic<int> num_open{0};

TraceObserver trace_observer;

KeptEvents& kept_events() {
  static KeptEvents kept;
  return kept;
}

}  // namespace

std::vector<TraceRegion>& trace_regions() {
  static std::vector<TraceRegion> regions;
  return regions;
}

TraceScope::TraceScope(const char* name, TraceOf whose) : name_(name), start_(std::chrono::steady_clock::now()) {
  const int depth = num_open.load(std::memory_order_relaxed);
  if (depth < kMostOpen) open_names[static_cast<std::size_t>(depth)].store(name, std::memory_order_relaxed);
  num_open.store(depth + 1, std::memory_order_release);
  if (trace_observer.begin != nullptr) trace_observer.begin(name);
  if (whose == TraceOf::HostAndDevice) on_device_.emplace(name);
}

TraceScope::~TraceScope() {
  if (trace_observer.end != nullptr) trace_observer.end();
  num_open.fetch_sub(1, std::memory_order_relaxed);
  const double elapsed_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  auto& regions = trace_regions();
  auto region = std::find_if(regions.begin(), regions.end(), [&](const TraceRegion& r) { return r.name == name_; });
  if (region == regions.end()) region = regions.insert(regions.end(), TraceRegion{name_});
  ++region->calls;
  region->total_s += elapsed_s;
  if (kept_events().keep) kept_events().events.push_back({name_, start_, elapsed_s});
}

void observe_traces(const TraceObserver& observer) { trace_observer = observer; }

void keep_trace_events(bool keep) { kept_events().keep = keep; }

std::vector<TraceEvent> take_trace_events() {
  keep_trace_events(false);
  return std::exchange(kept_events().events, {});
}

std::string open_scopes() {
  std::string path;
  const int depth = std::min(num_open.load(std::memory_order_acquire), kMostOpen);
  for (int i = 0; i < depth; ++i) {
    path += path.empty() ? "" : " > ";
    path += open_names[static_cast<std::size_t>(i)].load(std::memory_order_relaxed);
  }
  return path;
}

std::string trace_table() {
  std::string table = fmt::format("{:<40} {:>10} {:>12} {:>12}\n", "region", "calls", "total s", "mean ms");
  for (const TraceRegion& region : trace_regions()) {
    table += fmt::format("{:<40} {:>10} {:>12.3f} {:>12.3f}\n", region.name, region.calls, region.total_s,
                         1e3 * region.total_s / static_cast<double>(region.calls));
  }
  return table;
}

}  // namespace rondo

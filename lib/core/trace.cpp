// SPDX-License-Identifier: Apache-2.0
#include "core/trace.hpp"

#include <algorithm>
#include <spdlog/fmt/fmt.h>
#include <utility>

namespace rondo {

namespace {

struct KeptEvents {
  bool keep = false;
  std::vector<TraceEvent> events;
};

KeptEvents& kept_events() {
  static KeptEvents kept;
  return kept;
}

}  // namespace

std::vector<TraceRegion>& trace_regions() {
  static std::vector<TraceRegion> regions;
  return regions;
}

TraceScope::~TraceScope() {
  const double elapsed_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  auto& regions = trace_regions();
  auto region = std::find_if(regions.begin(), regions.end(), [&](const TraceRegion& r) { return r.name == name_; });
  if (region == regions.end()) region = regions.insert(regions.end(), TraceRegion{name_});
  ++region->calls;
  region->total_s += elapsed_s;
  if (kept_events().keep) kept_events().events.push_back({name_, start_, elapsed_s});
}

void keep_trace_events(bool keep) { kept_events().keep = keep; }

std::vector<TraceEvent> take_trace_events() {
  keep_trace_events(false);
  return std::exchange(kept_events().events, {});
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

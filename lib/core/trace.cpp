// SPDX-License-Identifier: Apache-2.0
#include "core/trace.hpp"

#include <algorithm>
#include <spdlog/fmt/fmt.h>

namespace rondo {

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

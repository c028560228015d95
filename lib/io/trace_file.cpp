// SPDX-License-Identifier: Apache-2.0
#include "io/trace_file.hpp"

#include <nlohmann/json.hpp>

#include "io/atomic_file.hpp"

namespace rondo {

void write_trace_file(const std::filesystem::path& path, int rank, const std::string& host,
                      const std::vector<TraceEvent>& events) {
  using Json = nlohmann::ordered_json;
  const std::string process = "rank " + std::to_string(rank) + " on " + host;
  Json list =
      Json::array({{{"name", "process_name"}, {"ph", "M"}, {"pid", rank}, {"args", {{"name", process}}}},
                   {{"name", "process_sort_index"}, {"ph", "M"}, {"pid", rank}, {"args", {{"sort_index", rank}}}}});
  using Microseconds = std::chrono::duration<double, std::micro>;
  const Microseconds epoch =
      std::chrono::system_clock::now().time_since_epoch() - std::chrono::steady_clock::now().time_since_epoch();
  for (const TraceEvent& event : events) {
    const Microseconds start = epoch + event.start.time_since_epoch();
    list.push_back({{"name", event.name},
                    {"ph", "X"},
                    {"ts", start.count()},
                    {"dur", 1e6 * event.duration_s},
                    {"pid", rank},
                    {"tid", 0}});
  }
  replace_file(path, Json{{"traceEvents", list}}.dump() + "\n");
}

}  // namespace rondo

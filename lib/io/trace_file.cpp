// SPDX-License-Identifier: Apache-2.0
#include "io/trace_file.hpp"

#include <nlohmann/json.hpp>

#include "io/atomic_file.hpp"

namespace rondo {

void write_trace_file(const std::filesystem::path& path, int rank, const std::string& host,
                      const std::vector<TraceTrack>& tracks) {
  using Json = nlohmann::ordered_json;
  const std::string process = "rank " + std::to_string(rank) + " on " + host;
  Json list =
      Json::array({{{"name", "process_name"}, {"ph", "M"}, {"pid", rank}, {"args", {{"name", process}}}},
                   {{"name", "process_sort_index"}, {"ph", "M"}, {"pid", rank}, {"args", {{"sort_index", rank}}}}});
  using Microseconds = std::chrono::duration<double, std::micro>;
  const Microseconds epoch =
      std::chrono::system_clock::now().time_since_epoch() - std::chrono::steady_clock::now().time_since_epoch();
  for (std::size_t track = 0; track < tracks.size(); ++track) {
    const auto about_track = [&](const char* what, const Json& argument) {
      list.push_back({{"name", what}, {"ph", "M"}, {"pid", rank}, {"tid", track}, {"args", argument}});
    };
    if (tracks[track].events.empty()) continue;
    about_track("thread_name", {{"name", tracks[track].name}});
    about_track("thread_sort_index", {{"sort_index", track}});
    for (const TraceEvent& event : tracks[track].events) {
      const Microseconds start = epoch + event.start.time_since_epoch();
      list.push_back({{"name", event.name},
                      {"ph", "X"},
                      {"ts", start.count()},
                      {"dur", 1e6 * event.duration_s},
                      {"pid", rank},
                      {"tid", track}});
    }
  }
  replace_file(path, Json{{"traceEvents", list}}.dump() + "\n");
}

}  // namespace rondo

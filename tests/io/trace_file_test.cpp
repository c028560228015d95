// SPDX-License-Identifier: Apache-2.0
#include "io/trace_file.hpp"

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <map>
#include <nlohmann/json.hpp>

namespace rondo {
namespace {

TEST(TraceFile, HoldsOneEventForEachScopeThatEndedWhileEventsWereKept) {
  { TraceScope before("test.before"); }
  keep_trace_events(true);
  {
    TraceScope outer("test.outer");
    TraceScope inner("test.inner");
  }
  const std::vector<TraceEvent> events = take_trace_events();
  { TraceScope after("test.after"); }
  EXPECT_TRUE(take_trace_events().empty());

  const auto path = std::filesystem::path(testing::TempDir()) / "rank-3.json";
  write_trace_file(path, 3, "somewhere", {{"host", events}, {"silent", {}}, {"GPU: ring", {events.front()}}});
  std::ifstream file(path);
  const auto json = nlohmann::json::parse(file)["traceEvents"];
  std::vector<nlohmann::json> scopes, of_ring;
  std::map<int, std::string> tracks;
  for (const auto& event : json) {
    EXPECT_EQ(event["pid"], 3);
    if (event["ph"] == "X") (event["tid"] == 0 ? scopes : of_ring).push_back(event);
    if (event["name"] == "thread_name") tracks[event["tid"]] = event["args"]["name"];
    if (event["name"] == "process_name") {
      EXPECT_EQ(event["args"]["name"], "rank 3 on somewhere");
    }
  }
  ASSERT_EQ(scopes.size(), 2U);
  EXPECT_EQ(tracks, (std::map<int, std::string>{{0, "host"}, {2, "GPU: ring"}}));
  ASSERT_EQ(of_ring.size(), 1U);
  EXPECT_EQ(of_ring[0]["name"], "test.inner");
  EXPECT_EQ(of_ring[0]["tid"], 2);
  EXPECT_EQ(scopes[0]["name"], "test.inner");
  EXPECT_EQ(scopes[1]["name"], "test.outer");
  EXPECT_LE(scopes[1]["ts"].get<double>(), scopes[0]["ts"].get<double>());
  const auto end_of = [](const nlohmann::json& scope) {
    return scope["ts"].get<double>() + scope["dur"].get<double>();
  };
  EXPECT_LE(end_of(scopes[0]), end_of(scopes[1]) + 1);  // doubles of this size are 0.25 us apart
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace rondo

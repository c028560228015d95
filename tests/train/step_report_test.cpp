// SPDX-License-Identifier: Apache-2.0
#include "train/step_report.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace rondo {
namespace {

TEST(StepReport, WritesDurationsAsPeopleReadThem) {
  EXPECT_EQ(duration_text(5), "0:05");
  EXPECT_EQ(duration_text(245), "4:05");
  EXPECT_EQ(duration_text(3723), "1:02:03");
  EXPECT_EQ(duration_text(-1), "0:00");
}

TEST(StepReport, RecordsEveryFigureAsOneLineOfJson) {
  StepReport report;
  report.step = 7;
  report.loss = 2.5;
  report.tokens = 1000;
  report.step_ms = 500;
  MemoryLedger memory;
  memory.add(MemoryUse::Parameters, 64);
  const std::string record = metrics_record(report, peak_memory_of(memory));
  EXPECT_EQ(record.find('\n'), std::string::npos);
  const auto parsed = nlohmann::json::parse(record);
  EXPECT_EQ(parsed.at("step"), 7);
  EXPECT_EQ(parsed.at("loss"), 2.5);
  EXPECT_EQ(parsed.at("tokens_per_second"), 2000.0);
  EXPECT_EQ(parsed.at("peak_bytes").at("parameters"), 64);
  EXPECT_EQ(parsed.at("peak_total_bytes"), 64);
  EXPECT_GT(parsed.at("peak_resident_bytes"), 0);
}

}  // namespace
}  // namespace rondo

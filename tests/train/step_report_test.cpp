// SPDX-License-Identifier: Apache-2.0
#include "train/step_report.hpp"

#include <gtest/gtest.h>

namespace rondo {
namespace {

TEST(StepReport, WritesDurationsAsPeopleReadThem) {
  EXPECT_EQ(duration_text(5), "0:05");
  EXPECT_EQ(duration_text(245), "4:05");
  EXPECT_EQ(duration_text(3723), "1:02:03");
  EXPECT_EQ(duration_text(-1), "0:00");
}

TEST(StepReport, BecomesALineOfTheMetrics) {
  StepReport report;
  report.step = 7;
  report.loss = 2.5;
  report.tokens = 1000;
  report.step_ms = 500;
  MemoryLedger memory;
  memory.add(MemoryUse::Parameters, 64);
  report.model_flops = 3e9;
  const StepRecord record = metrics_of(report, peak_memory_of(memory));
  EXPECT_EQ(record.step, 7);
  EXPECT_EQ(record.loss, 2.5);
  EXPECT_EQ(record.tokens_per_second, 2000.0);
  EXPECT_EQ(record.model_flops_per_second, 6e9);
  EXPECT_EQ(record.peak_bytes[static_cast<std::size_t>(MemoryUse::Parameters)], 64);
  EXPECT_EQ(record.peak_total_bytes, 64);
  EXPECT_GT(record.peak_resident_bytes, 0);
}

}  // namespace
}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
// The watchdog of stalled runs: which rank it reports, when it ends a run, and when it must not.
#include "train/stall_watchdog.hpp"

#include <chrono>
#include <filesystem>
#include <future>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <optional>
#include <unistd.h>

#include "core/trace.hpp"

namespace rondo::test {
namespace {

using ::testing::HasSubstr;

const std::string kWaiting = "trainer.step > communicator.wait";

/// A run of steps that take a pass of `pass_s` over each of `num_spans` spans and `update_s` for the rest. @returns the limit after
/// them
double limit_after(int num_steps, int num_spans, double pass_s, double update_s) {
  StallLimit limit;
  double now_s = 0, found_s = limit.at(now_s, "training", 0);
  for (int step = 1; step <= num_steps; ++step) {
    for (int span = 0; span < num_spans; ++span) limit.at(now_s += pass_s, "training", step - 1);
    found_s = limit.at(now_s += update_s, "training", step);
    limit.at(now_s += 1e-3, "save", step);
    found_s = limit.at(now_s += 1e6, "training", step);
  }
  return found_s;
}

TEST(StallLimits, AreFiveTimesTheLongestWaitOfAStep) {
  EXPECT_EQ(limit_after(4, 0, 0, 20), 0) << "not known yet";
  EXPECT_NEAR(limit_after(5, 0, 0, 20), 100, 1e-6);
  EXPECT_NEAR(limit_after(40, 0, 0, 20), 100, 1e-6);
  EXPECT_NEAR(limit_after(5, 0, 0, 1), 30, 1e-6) << "at least";
}

TEST(StallLimits, KnowHowLongAPassOverASpanTakes) { EXPECT_NEAR(limit_after(5, 4, 40, 1), 200, 1e-6); }

TEST(StalledRanks, AreThoseThatLeaveNoNote) {
  const StalledRank stalled = find_stalled_rank({StallNote{7, kWaiting}, StallNote{7, "trainer.load"}, std::nullopt});
  EXPECT_EQ(stalled.rank, 2);
  EXPECT_THAT(stalled.what, HasSubstr("does not answer"));
}

TEST(StalledRanks, AreElseThoseThatDoNotWaitForOthers) {
  const StalledRank stalled = find_stalled_rank({StallNote{7, kWaiting}, StallNote{7, "trainer.step > trainer.load"}});
  EXPECT_EQ(stalled.rank, 1);
  EXPECT_THAT(stalled.what, HasSubstr("trainer.step > trainer.load"));
}

TEST(StalledRanks, AreElseThoseWithTheFewestSteps) {
  EXPECT_EQ(find_stalled_rank({StallNote{7, kWaiting}, StallNote{6, kWaiting}, StallNote{7, kWaiting}}).rank, 1);
}

class StallWatchdogs : public ::testing::Test {
 protected:
  StallWatchdogs() : path_(std::filesystem::temp_directory_path() / ("rondo-stall-" + std::to_string(::getpid()))) {}
  ~StallWatchdogs() override { std::filesystem::remove_all(path_); }

  StallOptions options() {
    return {.limit_s = 0.3, .notes_come_within_s = 0.2, .end = [this](const ExitRecord& record) {
              end_.set_value(record);
            }};
  }

  std::filesystem::path path_;
  std::promise<ExitRecord> end_;
  std::future<ExitRecord> ended_ = end_.get_future();
};

TEST_F(StallWatchdogs, EndARunThatMakesNoStep) {
  const RunFolder folder(path_);
  const TraceScope scope("trainer.step");
  StallWatchdog watchdog(Communicator::self(), folder, options());
  watchdog.at("training", 12);
  const ExitRecord record = ended_.get();
  EXPECT_EQ(record.cause, "stalled");
  EXPECT_EQ(record.exit_code, 4);
  EXPECT_EQ(record.step, 12);
  EXPECT_TRUE(record.retry);
  EXPECT_THAT(record.message, HasSubstr("is in trainer.step"));
  EXPECT_TRUE(std::filesystem::exists(path_ / "exit.json"));
}

/// Changes from training to a phase at once. @returns whether the watchdog ended the run; nothing if this test itself was
/// delayed so long in between that the watchdog may rightly have found training stalled
std::optional<bool> ends_in_phase(const RunFolder& folder, const char* phase) {
  std::promise<void> end;
  const std::future<void> ended = end.get_future();
  constexpr double kLimit = 0.4;
  StallWatchdog watchdog(
      Communicator::self(), folder,
      {.limit_s = kLimit, .notes_come_within_s = 0.2, .end = [&end](const ExitRecord&) { end.set_value(); }});
  const auto start = std::chrono::steady_clock::now();
  watchdog.at("training", 1);
  watchdog.at(phase, 1);
  if (std::chrono::steady_clock::now() - start > std::chrono::duration<double>(kLimit / 2)) return {};
  return ended.wait_for(std::chrono::seconds(1)) == std::future_status::ready;
}

TEST_F(StallWatchdogs, LetEvaluationsAndSavesLast) {
  const RunFolder folder(path_);
  for (const char* phase : {"evaluation", "save"}) {
    std::optional<bool> ends;
    while (!ends) ends = ends_in_phase(folder, phase);
    EXPECT_FALSE(*ends) << phase;
  }
}

TEST_F(StallWatchdogs, DoNotWatchBeforeTheTimeOfAStepIsKnown) {
  const RunFolder folder(path_);
  StallOptions automatic = options();
  automatic.limit_s = 0;
  StallWatchdog watchdog(Communicator::self(), folder, automatic);
  watchdog.at("training", 1);
  EXPECT_EQ(ended_.wait_for(std::chrono::seconds(1)), std::future_status::timeout);
}

}  // namespace
}  // namespace rondo::test

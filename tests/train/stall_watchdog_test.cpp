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

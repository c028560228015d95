// SPDX-License-Identifier: Apache-2.0
// The run folder: one live process, exit records of which the first error stays, metrics without duplicates.
#include "io/run_folder.hpp"

#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/io/checkpoint_support.hpp"

namespace rondo::test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

ExitRecord failed(const std::string& message, int rank) {
  ExitRecord record;
  record.cause = "communication";
  record.exit_code = 4;
  record.rank = rank;
  record.message = message;
  return record;
}

class RunFolders : public ::testing::Test {
 protected:
  nlohmann::json exit_record() const { return nlohmann::json::parse(read_bytes(path_ / "exit.json")); }
  static MetricsRecord metrics(int step) {
    StepRecord record;
    record.step = step;
    return record;
  }
  static std::string line(int step) { return to_json(metrics(step)); }

  TemporaryFolder folder_;
  fs::path path_ = folder_.path() / "runs" / "one";
};

TEST_F(RunFolders, KeepTheFirstErrorOfAnAttempt) {
  const RunFolder run(path_);
  ExitRecord running;
  running.cause = "running";
  run.write_running(running);
  EXPECT_EQ(exit_record()["cause"], "running");
  run.write_exit(failed("rank 2 is gone", 1));
  RunFolder(path_).write_exit(failed("a victim of it", 2));
  EXPECT_EQ(exit_record()["message"], "rank 2 is gone");
  EXPECT_EQ(exit_record()["rank"], 1);
  run.write_running(running);
  EXPECT_EQ(exit_record()["cause"], "running");
  run.write_exit(failed("the next attempt's error", 0));
  EXPECT_EQ(exit_record()["message"], "the next attempt's error");
}

TEST_F(RunFolders, KeepARecordOnAFullDisk) {
  if (::mount("tmpfs", folder_.path().c_str(), "tmpfs", 0, "size=64k") != 0)
    GTEST_SKIP() << "only root can mount a small disk";
  {
    const RunFolder run(path_);
    ExitRecord running;
    running.cause = "running";
    run.write_running(running);
    std::ofstream filler(folder_.path() / "filler", std::ios::binary);
    while (filler << std::string(4096, 'x') << std::flush) {
    }
    run.write_exit(failed("the disk is full", 0));
    EXPECT_EQ(exit_record()["message"], "the disk is full");
    run.write_exit(failed("a victim of it", 1));
    EXPECT_EQ(exit_record()["message"], "the disk is full") << "the first error stays";
  }
  EXPECT_EQ(::umount2(folder_.path().c_str(), MNT_DETACH), 0);
}

TEST_F(RunFolders, LetAVictimFinishWhatTheFirstWasKilledIn) {
  const RunFolder run(path_);
  run.write_exit(failed("rank 2 is gone", 1));
  fs::remove(path_ / "exit.json");  // as if the first had been killed before it got there
  RunFolder(path_).write_exit(failed("a victim of it", 2));
  EXPECT_EQ(exit_record()["message"], "rank 2 is gone");
}

TEST_F(RunFolders, RefuseASecondLiveProcess) {
  std::optional<RunFolder> run;
  run.emplace(path_);
  run->lock();
  RunFolder second(path_);
  try {
    second.lock();
    FAIL() << "two processes on one run";
  } catch (const DataError& error) {
    EXPECT_THAT(error.what(), HasSubstr("process " + std::to_string(getpid())));
    EXPECT_THAT(error.what(), HasSubstr("--run"));
  }
  run.reset();
  second.lock();
}

TEST_F(RunFolders, TakeOverTheLockOfAKilledProcess) {
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    RunFolder run(path_);
    run.lock();
    [[maybe_unused]] const auto told = write(ready[1], "x", 1);
    pause();
  }
  char byte = 0;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  RunFolder run(path_);
  EXPECT_THROW(run.lock(), DataError);
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  run.lock();
  EXPECT_THAT(read_bytes(path_ / "lock"), HasSubstr(std::to_string(getpid())));
}

TEST_F(RunFolders, RefuseAFolderOfOtherFiles) {
  fs::create_directories(path_);
  write_bytes(path_ / "config.toml", "the user's own");
  RunFolder run(path_);
  try {
    run.lock();
    FAIL() << "a foreign folder was taken";
  } catch (const DataError& error) {
    EXPECT_THAT(error.what(), HasSubstr("--run"));
  }
  EXPECT_EQ(read_bytes(path_ / "config.toml"), "the user's own");
  EXPECT_FALSE(fs::exists(path_ / "lock"));
  fs::remove(path_ / "config.toml");
  run.lock();  // an empty folder will do
  EXPECT_TRUE(fs::is_directory(run.checkpoints()));
}

TEST_F(RunFolders, KeepTheConfigurationAndTheHeartbeat) {
  const RunFolder run(path_);
  EXPECT_EQ(run.read_config(), std::nullopt);
  run.write_config("[train]\nsteps = 30\n");
  run.write_config("[train]\nsteps = 4\n");
  EXPECT_EQ(run.read_config(), "[train]\nsteps = 4\n");
  run.write_heartbeat(17);
  const auto heartbeat = HeartbeatRecord::from_json(read_bytes(path_ / "heartbeat"), "heartbeat");
  EXPECT_EQ(heartbeat.step, 17);
  EXPECT_EQ(heartbeat.process, getpid());
  EXPECT_GT(heartbeat.time_unix_s, 1'700'000'000);
}

TEST_F(RunFolders, KeepWhatTheLastStartComputedWith) {
  const RunFolder run(path_);
  EXPECT_FALSE(run.read_start().has_value());
  run.write_start({.machine = "cuda on 2 ranks",
                   .deterministic = false,
                   .gpus = {"n1: rank 0 on GPU 0"},
                   .attention = {"by cudnn", "by fused"}});
  const auto start = run.read_start();
  ASSERT_TRUE(start.has_value());
  EXPECT_EQ(start->machine, "cuda on 2 ranks");
  EXPECT_FALSE(start->deterministic);
  EXPECT_EQ(start->gpus, (std::vector<std::string>{"n1: rank 0 on GPU 0"}));
  EXPECT_EQ(start->attention, (std::vector<std::string>{"by cudnn", "by fused"}));
  EXPECT_GT(start->time_unix_s, 1'700'000'000);
  std::ofstream(path_ / "start.json") << "{\"machine\": 3}";
  EXPECT_FALSE(run.read_start().has_value()) << "a run goes on without it";
}

TEST_F(RunFolders, CannotBeMadeUnderAFile) {
  write_bytes(folder_.path() / "file", "x");
  try {
    RunFolder run(folder_.path() / "file" / "run");
    FAIL();
  } catch (const DataError& error) {
    EXPECT_THAT(error.what(), HasSubstr("file/run"));
  }
}

TEST_F(RunFolders, SetLaterMetricsAsideAndNeverDuplicateThem) {
  const RunFolder run(path_);
  const fs::path file = path_ / "metrics.jsonl";
  run.rewind_metrics(0);
  for (int step = 1; step <= 5; ++step) run.append_metrics(metrics(step));
  write_bytes(file, read_bytes(file) + R"({"step": 6, "lo)");  // killed within a line
  run.rewind_metrics(3);
  std::string expected = line(1) + "\n" + line(2) + "\n" + line(3) + "\n";
  EXPECT_EQ(read_bytes(file), expected);
  EXPECT_EQ(read_bytes(path_ / "metrics.after-step-3.jsonl"), line(4) + "\n" + line(5) + "\n{\"step\": 6, \"lo\n");
  run.append_metrics(metrics(4));
  run.rewind_metrics(3);
  EXPECT_EQ(read_bytes(file), expected);
  EXPECT_EQ(read_bytes(path_ / "metrics.after-step-3.2.jsonl"), line(4) + "\n");
  run.rewind_metrics(3);  // nothing to set aside
  EXPECT_FALSE(fs::exists(path_ / "metrics.after-step-3.3.jsonl"));
}

TEST_F(RunFolders, KnowWhetherAStepWasEvaluated) {
  const RunFolder run(path_);
  EXPECT_FALSE(run.has_validation(3));
  run.append_metrics(metrics(3));
  EXPECT_FALSE(run.has_validation(3));
  ValidationRecord validation;
  validation.step = 3;
  run.append_metrics(validation);
  EXPECT_TRUE(run.has_validation(3));
  EXPECT_FALSE(run.has_validation(4));
  std::ofstream(path_ / "metrics.jsonl", std::ios::app) << R"({"step": 6, "lo)";
  EXPECT_FALSE(run.has_validation(6));
}

TEST_F(RunFolders, RefuseMetricsOfANewerProgram) {
  const RunFolder run(path_);
  std::ofstream(path_ / "metrics.jsonl") << R"({"format": "rondo-metrics", "version": 99, "step": 1})"
                                         << "\n";
  try {
    run.rewind_metrics(1);
    FAIL() << "lines that cannot be read were set aside";
  } catch (const DataError& error) {
    EXPECT_THAT(error.what(), HasSubstr("version 99"));
    EXPECT_THAT(error.what(), HasSubstr("metrics.jsonl"));
  }
}

TEST_F(RunFolders, LeaveNoHalfLineOfMetricsOnAFullDisk) {
  const RunFolder run(path_);
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGXFSZ, SIG_IGN);
    const struct rlimit limit { 1000, 1000 };
    setrlimit(RLIMIT_FSIZE, &limit);
    try {
      for (int step = 1; step <= 30; ++step) run.append_metrics(metrics(step));
    } catch (const DataError& error) {
      _exit(std::string(error.what()).find("File too large") != std::string::npos ? 3 : 4);  // not "disk full"
    }
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(WIFEXITED(status) ? WEXITSTATUS(status) : -1, 3);
  const std::string text = read_bytes(path_ / "metrics.jsonl");
  EXPECT_LE(text.size(), 1000U);
  EXPECT_EQ(text.back(), '\n');
}

}  // namespace
}  // namespace rondo::test

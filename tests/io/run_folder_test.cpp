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
  static std::string line(int step) { return R"({"step": )" + std::to_string(step) + "}"; }

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
  run.beat(17);
  EXPECT_EQ(nlohmann::json::parse(read_bytes(path_ / "heartbeat"))["step"], 17);
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
  for (int step = 1; step <= 5; ++step) run.append_metrics(line(step));
  write_bytes(file, read_bytes(file) + R"({"step": 6, "lo)");  // killed within a line
  run.rewind_metrics(3);
  std::string expected = line(1) + "\n" + line(2) + "\n" + line(3) + "\n";
  EXPECT_EQ(read_bytes(file), expected);
  EXPECT_EQ(read_bytes(path_ / "metrics.after-step-3.jsonl"), "{\"step\": 4}\n{\"step\": 5}\n{\"step\": 6, \"lo\n");
  run.append_metrics(line(4));
  run.rewind_metrics(3);
  EXPECT_EQ(read_bytes(file), expected);
  EXPECT_EQ(read_bytes(path_ / "metrics.after-step-3.2.jsonl"), "{\"step\": 4}\n");
  run.rewind_metrics(3);  // nothing to set aside
  EXPECT_FALSE(fs::exists(path_ / "metrics.after-step-3.3.jsonl"));
}

TEST_F(RunFolders, LeaveNoHalfLineOfMetricsOnAFullDisk) {
  const RunFolder run(path_);
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGXFSZ, SIG_IGN);
    const struct rlimit limit { 100, 100 };
    setrlimit(RLIMIT_FSIZE, &limit);
    try {
      for (int step = 1; step <= 30; ++step) run.append_metrics(line(step));
    } catch (const DataError& error) {
      _exit(std::string(error.what()).find("File too large") != std::string::npos ? 3 : 4);  // not "disk full"
    }
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(WIFEXITED(status) ? WEXITSTATUS(status) : -1, 3);
  const std::string text = read_bytes(path_ / "metrics.jsonl");
  EXPECT_LE(text.size(), 100U);
  EXPECT_EQ(text.back(), '\n');
}

}  // namespace
}  // namespace rondo::test

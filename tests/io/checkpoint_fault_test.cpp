// SPDX-License-Identifier: Apache-2.0
// A save that is killed or refused at every single system call that touches files: the old checkpoint or the new one is
// always there, whole, and the process ends by itself. A child saves, this process traces it.
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <functional>
#include <gtest/gtest.h>
#include <set>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/io/checkpoint_support.hpp"

namespace rondo::test {
namespace {

namespace fs = std::filesystem;

/// What the tracer does to the child's file calls.
struct Fault {
  enum class Kind { None, Kill, FailOnce, DiskFullFrom } kind = Kind::None;
  long at_call = 0;
  int error = 0;
};

struct Outcome {
  bool traced = false;
  int exit_code = -1;  // -1: ended by a signal
  int signal = 0;
  long num_calls = 0;
};

const std::set<long> kFileCalls = {SYS_openat,    SYS_write,  SYS_pwrite64,  SYS_ftruncate, SYS_fsync,
                                   SYS_fdatasync, SYS_rename, SYS_renameat2, SYS_mkdir,     SYS_unlink,
                                   SYS_unlinkat,  SYS_rmdir,  SYS_close,     SYS_fallocate, SYS_dup2};
const std::set<long> kSpaceCalls = {SYS_write, SYS_pwrite64, SYS_mkdir, SYS_fallocate, SYS_ftruncate};

[[noreturn]] void save_as_child(const std::function<void()>& save) {
  ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
  raise(SIGSTOP);
  try {
    save();
  } catch (const Error& error) {
    _exit(exit_code(error.kind()));
  }
  _exit(0);
}

bool goes_to_memory(pid_t child, unsigned long long descriptor) {
  std::error_code ignored;
  const auto link = "/proc/" + std::to_string(child) + "/fd/" + std::to_string(descriptor);
  return fs::read_symlink(link, ignored).string().starts_with("/memfd:");
}

/// The error that this call is to fail with, or 0.
int error_of(const Fault& fault, long call, long number, pid_t child, const user_regs_struct& registers) {
  if (fault.kind == Fault::Kind::FailOnce && call == fault.at_call) return fault.error;
  if (fault.kind == Fault::Kind::DiskFullFrom) {
    // A file system that cannot reserve, and that is full from some call on.
    if (number == SYS_fallocate) return EOPNOTSUPP;
    if (call >= fault.at_call && kSpaceCalls.contains(number) && !goes_to_memory(child, registers.rdi)) return ENOSPC;
  }
  return 0;
}

Outcome run_traced(const Fault& fault, const std::function<void()>& save) {
  Outcome outcome;
  const pid_t child = fork();
  if (child == 0) save_as_child(save);
  int status = 0;
  waitpid(child, &status, 0);
  if (!WIFSTOPPED(status) ||
      ptrace(PTRACE_SETOPTIONS, child, nullptr, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL) != 0) {
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    return outcome;
  }
  outcome.traced = true;
  int pending_error = 0, signal = 0;
  bool entering = true;
  while (ptrace(PTRACE_SYSCALL, child, nullptr, signal) == 0) {
    signal = 0;
    waitpid(child, &status, 0);
    if (WIFEXITED(status) || WIFSIGNALED(status)) break;
    if (WSTOPSIG(status) != (SIGTRAP | 0x80)) {
      signal = WSTOPSIG(status);
      continue;
    }
    user_regs_struct registers{};
    ptrace(PTRACE_GETREGS, child, nullptr, &registers);
    if (entering) {
      const long number = static_cast<long>(registers.orig_rax);
      if (kFileCalls.contains(number)) {
        ++outcome.num_calls;
        if (fault.kind == Fault::Kind::Kill && outcome.num_calls == fault.at_call) {
          kill(child, SIGKILL);
          waitpid(child, &status, 0);
          break;
        }
        pending_error = error_of(fault, outcome.num_calls, number, child, registers);
        if (pending_error != 0) {
          registers.orig_rax = static_cast<unsigned long long>(-1);
          ptrace(PTRACE_SETREGS, child, nullptr, &registers);
        }
      }
    } else if (pending_error != 0) {
      registers.rax = static_cast<unsigned long long>(-static_cast<long long>(pending_error));
      ptrace(PTRACE_SETREGS, child, nullptr, &registers);
      pending_error = 0;
    }
    entering = !entering;
  }
  if (WIFEXITED(status)) outcome.exit_code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) outcome.signal = WTERMSIG(status);
  return outcome;
}

class CheckpointFaults : public ::testing::Test {
 protected:
  /// A folder with step 1; the child saves step 2 and then prunes to one.
  void start() {
    fs::remove_all(folder_.path() / "run");
    store_.write(self_, 1, SampleState(SampleState::small(), 1).tensors(), "{}");
  }
  std::function<void()> save() {
    return [this] {
      store_.write(self_, 2, SampleState(SampleState::small(), 2).tensors(), "{}");
      store_.prune(self_, 1);
    };
  }
  /// The newest valid checkpoint after a start that cleans up; its values are compared too.
  std::int64_t newest() {
    store_.remove_leftovers(self_);
    const auto step = store_.newest_valid(self_, false);
    if (!step || !holds(self_, store_.step_folder(*step), SampleState::small(), static_cast<std::uint64_t>(*step)))
      return -1;
    return *step;
  }

  TemporaryFolder folder_;
  Communicator self_ = Communicator::self();
  CheckpointStore store_{folder_.path() / "run"};
};

TEST_F(CheckpointFaults, LeaveTheOldOrTheNewWhenKilledAtAnyCall) {
  start();
  const Outcome whole = run_traced({}, save());
  if (!whole.traced) GTEST_SKIP() << "this machine does not let a process trace its child";
  ASSERT_EQ(whole.exit_code, 0);
  ASSERT_EQ(newest(), 2);
  int old_ones = 0;
  for (long call = 1; call <= whole.num_calls; ++call) {
    start();
    const Outcome outcome = run_traced({.kind = Fault::Kind::Kill, .at_call = call}, save());
    ASSERT_EQ(outcome.signal, SIGKILL);
    const std::int64_t step = newest();
    ASSERT_TRUE(step == 1 || step == 2) << "killed at call " << call;
    old_ones += step == 1 ? 1 : 0;
    store_.write(self_, 2, SampleState(SampleState::small(), 2).tensors(), "{}");  // and the run goes on
    ASSERT_EQ(newest(), 2) << "killed at call " << call;
  }
  EXPECT_GT(old_ones, 10);
  EXPECT_LT(old_ones, whole.num_calls);
  RecordProperty("calls", static_cast<int>(whole.num_calls));
}

TEST_F(CheckpointFaults, EndInAnErrorWhenAnyCallFails) {
  start();
  const Outcome whole = run_traced({}, save());
  if (!whole.traced) GTEST_SKIP() << "this machine does not let a process trace its child";
  for (int error : {ENOSPC, EIO}) {
    for (long call = 1; call <= whole.num_calls; ++call) {
      start();
      const Outcome outcome = run_traced({.kind = Fault::Kind::FailOnce, .at_call = call, .error = error}, save());
      ASSERT_EQ(outcome.signal, 0) << "error " << error << " at call " << call;
      ASSERT_TRUE(outcome.exit_code == 0 || outcome.exit_code == 3) << outcome.exit_code << " at call " << call;
      const std::int64_t step = newest();
      ASSERT_TRUE(step == 2 || (step == 1 && outcome.exit_code == 3)) << step << " at call " << call;
    }
  }
}

TEST_F(CheckpointFaults, SurviveADiskThatFillsUpWithoutReservation) {
  start();
  const Outcome whole = run_traced({.kind = Fault::Kind::DiskFullFrom, .at_call = 1'000'000}, save());
  if (!whole.traced) GTEST_SKIP() << "this machine does not let a process trace its child";
  ASSERT_EQ(whole.exit_code, 0);
  int refused = 0;
  for (long call = 1; call <= whole.num_calls; ++call) {
    start();
    const Outcome outcome = run_traced({.kind = Fault::Kind::DiskFullFrom, .at_call = call}, save());
    ASSERT_EQ(outcome.signal, 0) << "full from call " << call;
    ASSERT_TRUE(outcome.exit_code == 0 || outcome.exit_code == 3) << outcome.exit_code << " from call " << call;
    const std::int64_t step = newest();
    ASSERT_EQ(step, outcome.exit_code == 0 || step == 2 ? 2 : 1) << "full from call " << call;
    refused += outcome.exit_code == 3 ? 1 : 0;
  }
  EXPECT_GT(refused, 5);
}

TEST_F(CheckpointFaults, NameTheFreeBytesOfAFullDisk) {
  const fs::path disk = folder_.path() / "disk";
  fs::create_directories(disk);
  if (mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=32m") != 0) GTEST_SKIP() << "only root may mount a small disk";
  {
    const CheckpointStore store(disk);
    store.write(self_, 1, SampleState(SampleState::large(), 1).tensors(), "{}");
    int written = 0;
    for (int free_kib = 17'000; free_kib > 10'000; free_kib -= 1000) {
      fs::remove(disk / "filler");
      fs::remove_all(store.step_folder(2));
      const auto room = static_cast<std::int64_t>(fs::space(disk).available) - free_kib * 1024;
      write_bytes(disk / "filler", std::string(static_cast<std::size_t>(std::max<std::int64_t>(room, 0)), 'x'));
      const std::string refusal =
          refusal_of([&] { store.write(self_, 2, SampleState(SampleState::large(), 2).tensors(), "{}"); });
      EXPECT_EQ(store.newest_valid(self_, false), refusal == "accepted" ? 2 : 1) << refusal;
      EXPECT_TRUE(refusal == "accepted" || refusal.find("bytes are needed") != std::string::npos) << refusal;
      written += refusal == "accepted" ? 1 : 0;
    }
    EXPECT_GT(written, 0);
    EXPECT_LT(written, 7);
  }
  umount(disk.c_str());
}

}  // namespace
}  // namespace rondo::test

// SPDX-License-Identifier: Apache-2.0
#include "io/run_folder.hpp"

#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <string_view>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/log.hpp"
#include "io/atomic_file.hpp"
#include "io/checkpoint_store.hpp"

namespace rondo {

namespace {

constexpr std::size_t kMostConfigBytes = std::size_t{1} << 20;

std::int64_t unix_time_s() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

/// Whether the line is of a step up to `last_step`; not one that a crash cut short. @throws DataError for a newer version
bool is_of_steps_until(std::int64_t last_step, const std::string& line, const std::string& where) {
  const auto step = step_of_line(line, where);
  return step && *step <= last_step;
}

/// stem.jsonl, or if that exists stem.2.jsonl and so on.
std::filesystem::path unused_name(const std::filesystem::path& folder, const std::string& stem) {
  std::filesystem::path name = folder / (stem + ".jsonl");
  for (int number = 2; std::filesystem::exists(name); ++number) {
    name = folder / (stem + "." + std::to_string(number) + ".jsonl");
  }
  return name;
}

/// First writer wins: the rank that creates the file reports the cause; ranks that come later failed as a consequence. The file
/// appears with its whole content, so that a later rank can finish what the first was killed in. @returns the first one's text
std::string first_of(const std::filesystem::path& file, const std::string& mine) {
  const std::filesystem::path temporary = file.string() + "." + std::to_string(::getpid());
  write_new_file(temporary, mine);
  const bool is_first = ::link(temporary.c_str(), file.c_str()) == 0;
  const int code = errno;
  ::unlink(temporary.c_str());
  return is_first || code != EEXIST ? mine : read_file(file, kMostConfigBytes);
}

/// A descriptor that is closed at the end of its scope.
struct Descriptor {
  explicit Descriptor(int opened) : number(opened) {}
  ~Descriptor() {
    if (number >= 0) ::close(number);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  const int number;
};

/// @returns 0 or errno; nothing remains of a line that does not fit
int append_line(const std::filesystem::path& file, const std::string& line) {
  const Descriptor opened(::open(file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666));
  struct stat before {};
  if (opened.number < 0 || ::fstat(opened.number, &before) != 0) return errno;
  // A limit may cut the line: the write after the short one then sets errno.
  for (std::size_t done = 0; done < line.size();) {
    const ssize_t written = ::write(opened.number, line.data() + done, line.size() - done);
    if (written > 0) {
      done += static_cast<std::size_t>(written);
    } else if (written == 0 || errno != EINTR) {
      const int code = written < 0 ? errno : ENOSPC;
      return done > 0 && ::ftruncate(opened.number, before.st_size) != 0 ? errno : code;
    }
  }
  return 0;
}

/// The number of a stage's folder; 0 if it is not one.
int stage_number(std::string_view name) {
  int number = 0;
  const auto [end, problem] = std::from_chars(name.data(), name.data() + name.size(), number);
  const bool is_stage = problem == std::errc() && number > 0 && end != name.data() + name.size() && *end == '-';
  return is_stage ? number : 0;
}

}  // namespace

std::filesystem::path stage_folder(const std::filesystem::path& run, int number, const std::filesystem::path& config) {
  return run / (std::to_string(number) + "-" + config.stem().string());
}

std::filesystem::path checkpoints_of(const std::filesystem::path& given) {
  std::error_code ignored;
  if (std::filesystem::is_directory(given / RunFolder::kCheckpoints, ignored)) return given / RunFolder::kCheckpoints;
  std::filesystem::path last = given;
  int last_number = 0;
  for (const auto& entry : std::filesystem::directory_iterator(given, ignored)) {
    const int number = entry.is_directory(ignored) ? stage_number(entry.path().filename().string()) : 0;
    const std::filesystem::path checkpoints = entry.path() / RunFolder::kCheckpoints;
    if (number <= last_number || CheckpointStore(checkpoints).steps().empty()) continue;
    last = checkpoints;
    last_number = number;
  }
  return last;
}

RunFolder::RunFolder(std::filesystem::path path) : path_(std::move(path)) {
  std::error_code failed;
  std::filesystem::create_directories(path_, failed);
  if (failed) {
    throw DataError("cannot make the run folder: " + failed.message(), path_.string(),
                    "give a folder that can be written with --run");
  }
}

RunFolder::~RunFolder() {
  if (lock_ >= 0) ::close(lock_);  // the kernel drops the lock, also when the process is killed
}

void RunFolder::lock() {
  const std::filesystem::path file = path_ / "lock";
  if (!std::filesystem::exists(file) && !std::filesystem::exists(path_ / "exit.json") &&
      !std::filesystem::is_empty(path_)) {
    throw DataError("this folder holds files that no run has made", path_.string(),
                    "give a new or an empty folder with --run");
  }
  lock_ = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (lock_ < 0) throw_errno(ErrorKind::Data, "open", file, errno);
  if (::flock(lock_, LOCK_EX | LOCK_NB) != 0) {
    const int code = errno;
    if (code == EWOULDBLOCK) {
      ::close(lock_);
      lock_ = -1;
      throw DataError("another run is writing this folder: " + read_file(file, kMostConfigBytes), path_.string(),
                      "wait for it to end, stop it, or choose another folder with --run");
    }
    log::warning("{}: {}; a second process on this run would not be noticed", file.string(), std::strerror(code));
  }
  char host[256] = "";
  ::gethostname(host, sizeof(host) - 1);
  const std::string owner = "process " + std::to_string(::getpid()) + " on " + host;
  if (::ftruncate(lock_, 0) != 0 || ::pwrite(lock_, owner.data(), owner.size(), 0) < 0) {
    throw_errno(ErrorKind::Data, "write", file, errno);
  }
  std::filesystem::create_directories(checkpoints());
}

void RunFolder::write_running(ExitRecord record) const {
  record.time_unix_s = unix_time_s();
  std::filesystem::remove(path_ / "exit.first");
  std::filesystem::remove_all(stall_notes());
  replace_file(path_ / "exit.json", record.to_json());
}

std::optional<std::string> RunFolder::read_config() const {
  const std::filesystem::path file = path_ / "config.toml";
  if (!std::filesystem::exists(file)) return std::nullopt;
  return read_file(file, kMostConfigBytes);
}

void RunFolder::write_config(const std::string& toml) const { replace_file(path_ / "config.toml", toml); }

std::optional<StartRecord> RunFolder::read_start() const {
  const std::filesystem::path file = path_ / "start.json";
  if (!std::filesystem::exists(file)) return std::nullopt;
  try {
    return StartRecord::from_json(read_file(file, kMostConfigBytes), file.string());
  } catch (const DataError&) {
    return std::nullopt;  // it serves only for comparison
  }
}

void RunFolder::write_start(StartRecord record) const {
  record.time_unix_s = unix_time_s();
  replace_file(path_ / "start.json", record.to_json());
}

void RunFolder::rewind_metrics(std::int64_t step) const {
  const std::filesystem::path file = metrics_file();
  std::ifstream lines(file, std::ios::binary);
  if (!lines) return;
  std::string kept, aside;
  for (std::string line; std::getline(lines, line);) {
    const bool is_whole = !lines.eof();  // the line ended with a line break
    (is_whole && is_of_steps_until(step, line, file.string()) ? kept : aside) += line + "\n";
  }
  lines.close();
  if (aside.empty()) return;
  // Copy first: a crash between the two writes leaves lines twice in the folder, but loses none.
  write_new_file(unused_name(path_, "metrics.after-step-" + std::to_string(step)), aside);
  replace_file(file, kept);
}

void RunFolder::append_metrics(const MetricsRecord& record) const {
  const int code = append_line(metrics_file(), to_json(record) + "\n");
  if (code != 0) throw_errno(ErrorKind::Data, "write", metrics_file(), code);
}

bool RunFolder::has_validation(std::int64_t step) const {
  std::ifstream lines(metrics_file(), std::ios::binary);
  for (std::string line; std::getline(lines, line);) {
    if (is_validation_line(line) && step_of_line(line, metrics_file().string()) == step) return true;
  }
  return false;
}

void RunFolder::write_heartbeat(std::int64_t step) const {
  const HeartbeatRecord record{.step = step, .process = ::getpid(), .time_unix_s = unix_time_s()};
  // Renamed, so that no reader sees half of it, but not synced, since it is not needed after a power loss.
  std::ofstream(path_ / "heartbeat.new", std::ios::trunc) << record.to_json();
  std::error_code ignored;
  std::filesystem::rename(path_ / "heartbeat.new", path_ / "heartbeat", ignored);
}

void RunFolder::write_exit(ExitRecord record) const noexcept {
  try {
    record.time_unix_s = unix_time_s();
    std::string text = record.to_json();
    try {
      if (record.exit_code != 0) text = first_of(path_ / "exit.first", text);
      replace_file(path_ / "exit.json", text);
    } catch (const DataError&) {
      // A full disk has no room for a new file, so overwrite the record of the start; keep one that already names a cause.
      const std::filesystem::path file = path_ / "exit.json";
      const ExitRecord there = ExitRecord::from_json(read_file(file, kMostConfigBytes), file.string());
      if (there.cause == "running") overwrite_file(path_ / "exit.json", text);
    }
  } catch (const std::exception& error) {
    log::error("cannot write {}/exit.json: {}", path_.string(), error.what());
  }
}

}  // namespace rondo

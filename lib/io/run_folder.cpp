// SPDX-License-Identifier: Apache-2.0
#include "io/run_folder.hpp"

#include <cerrno>
#include <chrono>
#include <fcntl.h>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sys/file.h>
#include <unistd.h>

#include "core/log.hpp"
#include "io/atomic_file.hpp"

namespace rondo {

namespace {

constexpr std::size_t kMostConfigBytes = std::size_t{1} << 20;

std::int64_t unix_time_s() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string to_json(const ExitRecord& r) {
  return nlohmann::ordered_json{{"cause", r.cause},     {"exit_code", r.exit_code}, {"rank", r.rank},
                                {"host", r.host},       {"step", r.step},           {"phase", r.phase},
                                {"message", r.message}, {"advice", r.advice},       {"retry", r.retry},
                                {"time", unix_time_s()}}
             .dump(2, ' ', false, nlohmann::json::error_handler_t::replace) +
         "\n";
}

std::int64_t step_of(const std::string& line) {
  const auto record = nlohmann::json::parse(line, nullptr, false);
  return record.is_object() ? record.value("step", std::int64_t{-1}) : -1;
}

}  // namespace

RunFolder::RunFolder(std::filesystem::path path) : path_(std::move(path)) {
  std::error_code failed;
  std::filesystem::create_directories(checkpoints(), failed);
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
  lock_ = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (lock_ < 0) throw_errno(ErrorKind::Data, "open", file, errno);
  if (::flock(lock_, LOCK_EX | LOCK_NB) != 0) {
    const std::string owner = read_file(file, kMostConfigBytes);
    throw DataError("another run is writing this folder: " + owner, path_.string(),
                    "wait for it to end, stop it, or choose another folder with --run");
  }
  char host[256] = "";
  ::gethostname(host, sizeof(host) - 1);
  const std::string owner = "process " + std::to_string(::getpid()) + " on " + host;
  if (::ftruncate(lock_, 0) != 0 || ::pwrite(lock_, owner.data(), owner.size(), 0) < 0) {
    throw_errno(ErrorKind::Data, "write", file, errno);
  }
}

void RunFolder::write_running(const ExitRecord& record) const {
  std::filesystem::remove(path_ / "exit.first");
  replace_file(path_ / "exit.json", to_json(record));
}

std::optional<std::string> RunFolder::read_config() const {
  const std::filesystem::path file = path_ / "config.toml";
  if (!std::filesystem::exists(file)) return std::nullopt;
  return read_file(file, kMostConfigBytes);
}

void RunFolder::write_config(const std::string& toml) const { replace_file(path_ / "config.toml", toml); }

void RunFolder::rewind_metrics(std::int64_t step) const {
  const std::filesystem::path file = path_ / "metrics.jsonl";
  std::ifstream lines(file);
  if (!lines) return;
  std::string kept, aside;
  for (std::string line; std::getline(lines, line);) {
    (step_of(line) <= step ? kept : aside) += line + "\n";
  }
  if (aside.empty()) return;
  std::ofstream(path_ / ("metrics.after-step-" + std::to_string(step) + ".jsonl"), std::ios::app) << aside;
  replace_file(file, kept);
}

void RunFolder::append_metrics(const std::string& record) const {
  const std::filesystem::path file = path_ / "metrics.jsonl";
  std::ofstream lines(file, std::ios::app);
  lines << record << "\n" << std::flush;
  if (!lines) throw DataError("cannot write the metrics: the disk may be full", file.string());
}

void RunFolder::beat(std::int64_t step) const {
  const nlohmann::ordered_json beat{{"time", unix_time_s()}, {"step", step}, {"process", ::getpid()}};
  std::ofstream(path_ / "heartbeat", std::ios::trunc) << beat.dump() << "\n";
}

void RunFolder::write_exit(const ExitRecord& record) const noexcept {
  try {
    if (record.exit_code != 0) {
      // Whoever makes this file speaks; the other ranks of this run are its victims.
      const int first = ::open((path_ / "exit.first").c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666);
      if (first < 0) return;
      ::close(first);
    }
    replace_file(path_ / "exit.json", to_json(record));
  } catch (const std::exception& error) {
    log::error("cannot write {}/exit.json: {}", path_.string(), error.what());
  }
}

}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
#include "train/stall_watchdog.hpp"

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "comm/mpi_session.hpp"
#include "core/log.hpp"
#include "core/trace.hpp"
#include "io/atomic_file.hpp"

namespace rondo {

namespace {

constexpr double kTick_s = 0.1, kLeastLimit_s = 30, kStepsOfLimit = 5;
constexpr std::size_t kStepsToKnow = 5, kStepsRemembered = 31;
constexpr std::size_t kMostNoteBytes = 1 << 16;
constexpr std::string_view kWaitingScope = "communicator.wait";

double median_of(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

std::filesystem::path note_file(const RunFolder& folder, std::size_t rank) {
  return folder.stall_notes() / ("rank-" + std::to_string(rank) + ".json");
}

std::optional<StallNote> read_note(const std::filesystem::path& file) {
  try {
    const auto note = nlohmann::json::parse(read_file(file, kMostNoteBytes));
    return StallNote{note.at("step"), note.at("scopes")};
  } catch (const std::exception&) {  // there is no valid note
    return std::nullopt;
  }
}

}  // namespace

StalledRank find_stalled_rank(const std::vector<std::optional<StallNote>>& notes) {
  int last = 0;  // if all ranks wait: the first with the fewest steps
  for (std::size_t rank = 0; rank < notes.size(); ++rank) {
    const int number = static_cast<int>(rank);
    if (!notes[rank]) return {number, "does not answer; the process is stopped, or its host or file system is"};
    if (notes[rank]->step < notes[static_cast<std::size_t>(last)]->step) last = number;
  }
  for (std::size_t rank = 0; rank < notes.size(); ++rank) {
    if (!notes[rank]->scopes.ends_with(kWaitingScope)) {
      return {static_cast<int>(rank), "is in " + (notes[rank]->scopes.empty() ? "no scope" : notes[rank]->scopes)};
    }
  }
  return {last, "waits as all others do, in " + notes[static_cast<std::size_t>(last)]->scopes};
}

StallWatchdog::StallWatchdog(const Communicator& world, const RunFolder& folder, StallOptions options)
    : folder_(folder),
      options_(std::move(options)),
      rank_(world.rank()),
      hosts_(world.all_gather(host_name())),
      limit_s_(options_.limit_s) {
  sigset_t all, before;  // signals are handled by the training thread
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { watch(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

StallWatchdog::~StallWatchdog() {
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
  }
  end_.notify_all();
  thread_.join();
}

double StallLimit::at(double now_s, std::string_view phase, std::int64_t step) {
  if (was_training_) longest_s_ = std::max(longest_s_, now_s - last_s_);
  if (has_begun_ && step > step_) {
    if (longest_of_steps_.size() < kStepsRemembered) {
      longest_of_steps_.push_back(longest_s_);
    } else {
      longest_of_steps_[num_steps_ % kStepsRemembered] = longest_s_;
    }
    ++num_steps_;
    longest_s_ = 0;
  }
  has_begun_ = true;
  was_training_ = phase == "training";
  last_s_ = now_s;
  step_ = step;
  return num_steps_ < kStepsToKnow ? 0 : std::max(kLeastLimit_s, kStepsOfLimit * median_of(longest_of_steps_));
}

void StallWatchdog::at(std::string_view phase, std::int64_t step) {
  const double now_s = std::chrono::duration<double>(Clock::now().time_since_epoch()).count();
  if (const double automatic_s = limit_.at(now_s, phase, step); options_.limit_s == 0) limit_s_ = automatic_s;
  step_ = step;
  watched_ = phase == "training";
  ++beats_;
}

// Counts its own ticks, not the clock: time for which the whole run was suspended does not count as idle.
void StallWatchdog::watch() {
  std::uint64_t seen = 0;
  double idle_s = 0;
  while (!ended_within(kTick_s)) {
    const std::uint64_t beats = beats_;
    const double limit_s = limit_s_;
    idle_s = beats == seen && watched_ && limit_s > 0 ? idle_s + kTick_s : 0;
    seen = beats;
    if (limit_s == 0 || idle_s < limit_s) continue;
    write_note();
    if (goes_on_within(options_.notes_come_within_s, seen)) {
      std::error_code ignored;
      std::filesystem::remove(note_file(folder_, static_cast<std::size_t>(rank_)), ignored);
      continue;
    }
    return report();
  }
}

bool StallWatchdog::ended_within(double seconds) {
  std::unique_lock lock(mutex_);
  return end_.wait_for(lock, std::chrono::duration<double>(seconds), [this] { return ended_; });
}

bool StallWatchdog::goes_on_within(double seconds, std::uint64_t beats) {
  for (double waited_s = 0; waited_s < seconds; waited_s += kTick_s) {
    if (ended_within(kTick_s) || beats_ != beats) return true;
  }
  return false;
}

void StallWatchdog::write_note() const {
  try {
    std::filesystem::create_directories(folder_.stall_notes());
    const nlohmann::ordered_json note{{"step", step_.load()}, {"scopes", open_scopes()}};
    replace_file(note_file(folder_, static_cast<std::size_t>(rank_)), note.dump() + "\n");
  } catch (const std::exception& error) {
    log::error("cannot write to {}: {}", folder_.stall_notes().string(), error.what());
  }
}

ExitRecord StallWatchdog::record_of(const std::vector<std::optional<StallNote>>& notes) const {
  const StalledRank stalled = find_stalled_rank(notes);
  const std::string& host = hosts_[static_cast<std::size_t>(stalled.rank)];
  ExitRecord record;
  record.cause = "stalled";
  record.exit_code = exit_code(ErrorKind::Communication);
  record.rank = stalled.rank;
  record.host = host;
  record.step = step_;
  record.phase = "training";
  record.message = fmt::format("no step for {:g} s after step {}: rank {} on {} {}", limit_s_.load(), step_.load(),
                               stalled.rank, host, stalled.what);
  record.advice = "start the same command again; if steps really last so long, raise train.stall_timeout";
  record.retry = true;
  return record;
}

// The lowest rank that wrote a note reports for all; the others give it a second to do so.
void StallWatchdog::report() {
  std::vector<std::optional<StallNote>> notes;
  for (std::size_t rank = 0; rank < hosts_.size(); ++rank) notes.push_back(read_note(note_file(folder_, rank)));
  const auto speaker = std::find_if(notes.begin(), notes.end(), [](const auto& note) { return note.has_value(); });
  const ExitRecord record = record_of(notes);
  if (speaker - notes.begin() < rank_ && speaker != notes.end()) ended_within(1);
  folder_.write_exit(record);
  if (speaker == notes.end() || speaker - notes.begin() == rank_) log::error("{}\n  {}", record.message, record.advice);
  if (options_.end) return options_.end(record);
  std::_Exit(record.exit_code);
}

}  // namespace rondo

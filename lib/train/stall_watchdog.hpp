// SPDX-License-Identifier: Apache-2.0
// Ends a run that makes no step any more, and says which rank holds the others up. A thread of its own that calls no MPI,
// where the ranks that wait are stuck: they compare notes through files in the run folder.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "comm/communicator.hpp"
#include "io/run_folder.hpp"

namespace rondo {

/// What a rank was doing when its watchdog grew impatient: its open trace scopes, outermost first.
struct StallNote {
  std::int64_t step = 0;
  std::string scopes;
};

struct StalledRank {
  int rank = 0;
  std::string what;  // follows "rank N on HOST: "
};
/// The rank that the others wait for. @param notes by rank, nothing from a rank that left none; not empty
StalledRank find_stalled_rank(const std::vector<std::optional<StallNote>>& notes);

struct StallOptions {
  double limit_s = 0;  // without a step; 0: 5 times the median step, at least 30 s, once five steps are known
  double notes_come_within_s = 5;  // then the ranks have seen each other's notes, or made a step after all
  /// Called by the thread of the watchdog after it has written the record; if not given, the process ends with code 4.
  std::function<void(const ExitRecord&)> end = {};
};

class StallWatchdog {
 public:
  /// Collective. @pre the folder outlives this
  StallWatchdog(const Communicator& world, const RunFolder& folder, StallOptions options);
  ~StallWatchdog();
  StallWatchdog(const StallWatchdog&) = delete;
  StallWatchdog& operator=(const StallWatchdog&) = delete;

  /// Tells of every step and change of phase. Watched is "training" alone: evaluations and saves last as long as they do.
  void at(std::string_view phase, std::int64_t step);

 private:
  using Clock = std::chrono::steady_clock;

  void watch();
  bool ended_within(double seconds);
  bool goes_on_within(double seconds, std::uint64_t beats);
  void write_note() const;
  ExitRecord record_of(const std::vector<std::optional<StallNote>>& notes) const;
  void report();

  const RunFolder& folder_;
  const StallOptions options_;
  const int rank_;
  const std::vector<std::string> hosts_;

  // of the thread that trains
  Clock::time_point last_call_ = Clock::now();
  std::vector<double> step_seconds_;  // of the last steps
  std::size_t num_steps_ = 0;
  // between the two
  std::atomic<std::uint64_t> beats_{0};
  std::atomic<std::int64_t> step_{0};
  std::atomic<double> limit_s_;  // 0: not known yet
  std::atomic<bool> watched_{false};
  std::mutex mutex_;
  std::condition_variable end_;
  bool ended_ = false;  // guarded by mutex_
  std::thread thread_;
};

}  // namespace rondo

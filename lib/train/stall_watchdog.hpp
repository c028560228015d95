// SPDX-License-Identifier: Apache-2.0
// Ends a run that makes no more steps, and reports which rank the others wait for. It runs in its own thread, which does not
// call MPI, since waiting ranks are stuck there: ranks exchange notes through files in the run folder.
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

/// What a rank was doing when its time limit had passed: its open trace scopes, outermost first.
struct StallNote {
  std::int64_t step = 0;
  std::string scopes;
};

struct StalledRank {
  int rank = 0;
  std::string what;  // follows "rank N on HOST: "
};
/// The rank that the others wait for. @param notes by rank, not empty; nothing for a rank that wrote none
StalledRank find_stalled_rank(const std::vector<std::optional<StallNote>>& notes);

/// The limit of a run that names none: 5 times the median, over the last steps, of the longest time without progress in a step,
/// and at least 30 s.
class StallLimit {
 public:
  /// Reports progress. @param now_s  seconds of any one clock  @returns the limit in seconds; 0 until five steps are known
  double at(double now_s, std::string_view phase, std::int64_t step);

 private:
  bool has_begun_ = false, was_training_ = false;
  double last_s_ = 0, longest_s_ = 0;  // of the last report; without progress in this step
  std::int64_t step_ = 0;
  std::size_t num_steps_ = 0;
  std::vector<double> longest_of_steps_;  // the last ones
};

struct StallOptions {
  double limit_s = 0;              // time without progress; 0: that of StallLimit
  double notes_come_within_s = 5;  // how long to wait for the notes of other ranks, or for a late step
  /// Called by the watchdog's thread after it has written the record; by default the process exits with code 4.
  std::function<void(const ExitRecord&)> end = {};
};

class StallWatchdog {
 public:
  /// Collective. @pre the folder outlives this object
  StallWatchdog(const Communicator& world, const RunFolder& folder, StallOptions options);
  ~StallWatchdog();
  StallWatchdog(const StallWatchdog&) = delete;
  StallWatchdog& operator=(const StallWatchdog&) = delete;

  /// Reports progress; call after every step, at every change of phase, or more often. Only "training" has a time limit.
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

  // used by the training thread only
  StallLimit limit_;
  // shared by both threads
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

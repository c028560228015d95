// SPDX-License-Identifier: Apache-2.0
// The global positions of a set of local tokens, as a few arithmetic progressions. Plain data, usable from device code.
#pragma once

#include <array>
#include <cstdint>

#include "core/error.hpp"
#include "core/host_device.hpp"

namespace rondo {

/// `count` tokens at global positions global_first, global_first + stride, ..., with local indices from local_first on.
struct TokenRun {
  std::int64_t global_first = 0;
  std::int64_t stride = 1;
  std::int64_t count = 0;
  std::int64_t local_first = 0;

  RONDO_HOST_DEVICE std::int64_t global_of(std::int64_t index_in_run) const {
    return global_first + index_in_run * stride;
  }
  std::int64_t global_last() const { return global_of(count - 1); }
  bool operator==(const TokenRun&) const = default;
};

/// The runs of one rank's shard, in local order; local indices are contiguous from 0 and positions ascend.
class TokenRuns {
 public:
  static constexpr int kMaxRuns = 8;

  TokenRuns() = default;
  static TokenRuns contiguous(std::int64_t global_first, std::int64_t count) {
    TokenRuns runs;
    runs.append(global_first, 1, count);
    return runs;
  }

  /// Appends a run after the last; empty runs are dropped.
  void append(std::int64_t global_first, std::int64_t stride, std::int64_t count) {
    if (count == 0) return;
    ensure(num_runs_ < kMaxRuns, "a shard has at most eight runs");
    runs_[static_cast<std::size_t>(num_runs_++)] = {global_first, stride, count, num_tokens_};
    num_tokens_ += count;
  }

  std::int64_t num_tokens() const { return num_tokens_; }
  int num_runs() const { return num_runs_; }
  const TokenRun& operator[](int run) const { return runs_[static_cast<std::size_t>(run)]; }
  const TokenRun* begin() const { return runs_.data(); }
  const TokenRun* end() const { return runs_.data() + num_runs_; }

  /// Global position of a local token. @pre 0 <= local < num_tokens()
  std::int64_t global_of(std::int64_t local) const {
    int run = num_runs_ - 1;
    while (run > 0 && (*this)[run].local_first > local) --run;
    return (*this)[run].global_of(local - (*this)[run].local_first);
  }
  bool operator==(const TokenRuns&) const = default;

 private:
  std::array<TokenRun, kMaxRuns> runs_{};
  int num_runs_ = 0;
  std::int64_t num_tokens_ = 0;
};

}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
// Progress of a long command: several times per second on a terminal, every few seconds elsewhere.
#pragma once

#include <chrono>
#include <string>

#include "apps/live_line.hpp"

namespace rondo {

class LiveProgress {
 public:
  double elapsed_s() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }
  /// Whether it is time for another line.
  bool is_due();
  /// Rewrites the line on a terminal; prints another line elsewhere.
  void show(const std::string& line) const;

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  LiveLine live_;
  double interval_s_ = live_.is_on_terminal() ? 0.2 : 5.0;
  double next_s_ = live_.is_on_terminal() ? 0.5 : 5.0;
};

}  // namespace rondo

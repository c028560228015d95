// SPDX-License-Identifier: Apache-2.0
#include "apps/live_progress.hpp"

#include <cstdio>

namespace rondo {

bool LiveProgress::is_due() {
  const double now_s = elapsed_s();
  if (now_s < next_s_) return false;
  next_s_ = now_s + interval_s_;
  return true;
}

void LiveProgress::show(const std::string& line) const {
  live_.show(line);
  if (!live_.is_on_terminal()) std::fprintf(stderr, "%s\n", line.c_str());
}

}  // namespace rondo

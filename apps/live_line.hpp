// SPDX-License-Identifier: Apache-2.0
// A progress line on a terminal.
#pragma once

#include <string>

namespace rondo {

/// One line on stderr that is rewritten in place, cut to the terminal's width, and removed at the end; nothing if stderr is not
/// a terminal. Log lines replace it (core/log.cpp).
class LiveLine {
 public:
  LiveLine();
  ~LiveLine();
  LiveLine(const LiveLine&) = delete;
  LiveLine& operator=(const LiveLine&) = delete;

  bool is_on_terminal() const { return is_on_terminal_; }
  void show(const std::string& text) const;

 private:
  bool is_on_terminal_;
};

}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
// The line on a terminal that tells how far a long command is.
#pragma once

#include <string>

namespace rondo {

/// One line on stderr that is rewritten in place, cut to the terminal's width, and gone in the end; nothing where stderr is
/// no terminal. Log lines take its place (core/log.cpp).
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

// SPDX-License-Identifier: Apache-2.0
#include "apps/live_line.hpp"

#include <algorithm>
#include <cstdio>
#include <sys/ioctl.h>
#include <unistd.h>

namespace rondo {

LiveLine::LiveLine() : is_on_terminal_(::isatty(STDERR_FILENO) != 0) {}

LiveLine::~LiveLine() {
  if (is_on_terminal_) std::fputs("\r\033[K", stderr);
}

void LiveLine::show(const std::string& text) const {
  if (!is_on_terminal_) return;
  winsize size{};
  const bool known = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  // The last column stays free: on some terminals a character there would start a new line.
  const int columns = (known ? size.ws_col : 80) - 1;
  std::fprintf(stderr, "\r%.*s\033[K", std::max(columns, 1), text.c_str());
}

}  // namespace rondo

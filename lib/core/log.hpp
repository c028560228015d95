// SPDX-License-Identifier: Apache-2.0
// The logger: to stderr, one line a message, shown as in core/utf8.hpp. Rank 0 says everything; other ranks speak only on warnings and errors.
#pragma once

#include <spdlog/fmt/fmt.h>
#include <string_view>
#include <utility>

namespace rondo::log {

/// Called once the rank is known; before it messages carry no rank.
void set_rank(int rank, int world_size);
void set_verbose(bool verbose);

void write_debug(std::string_view text);
void write_info(std::string_view text);
void write_warning(std::string_view text);
void write_error(std::string_view text);

template <typename... Args> void debug(fmt::format_string<Args...> format, Args&&... args) {
  write_debug(fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args> void info(fmt::format_string<Args...> format, Args&&... args) {
  write_info(fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args> void warning(fmt::format_string<Args...> format, Args&&... args) {
  write_warning(fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args> void error(fmt::format_string<Args...> format, Args&&... args) {
  write_error(fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace rondo::log

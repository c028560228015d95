// SPDX-License-Identifier: Apache-2.0
// The logger: one line per message to stderr, with the escapes of core/utf8.hpp. Rank 0 logs everything, other ranks only
// warnings and errors.
#pragma once

#include <spdlog/fmt/fmt.h>
#include <string_view>
#include <utility>

namespace rondo::log {

/// Called once the rank is known; messages before that carry no rank.
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

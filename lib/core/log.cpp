// SPDX-License-Identifier: Apache-2.0
#include "core/log.hpp"

#include <memory>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <string>
#include <unistd.h>

#include "core/utf8.hpp"

namespace rondo::log {

namespace {

int this_rank = 0;

// On a terminal, a log line overwrites the live line (apps/live_line.hpp).
std::string pattern(const std::string& rank) {
  return (::isatty(STDERR_FILENO) != 0 ? "\r\033[K%^%L%$ " : "%^%L%$ ") + rank + "%v";
}

spdlog::logger& logger() {
  static const std::shared_ptr<spdlog::logger> instance = [] {
    auto made = std::make_shared<spdlog::logger>("rondo", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
    made->set_pattern(pattern(""));
    return made;
  }();
  return *instance;
}

}  // namespace

void set_rank(int rank, int world_size) {
  this_rank = rank;
  logger().set_pattern(pattern(world_size > 1 ? fmt::format("[{}] ", rank) : ""));
}

void set_verbose(bool verbose) { logger().set_level(verbose ? spdlog::level::debug : spdlog::level::info); }

void write_debug(std::string_view text) {
  if (this_rank == 0) logger().debug(shown_as_utf8(text));
}
void write_info(std::string_view text) {
  if (this_rank == 0) logger().info(shown_as_utf8(text));
}
void write_warning(std::string_view text) { logger().warn(shown_as_utf8(text)); }
void write_error(std::string_view text) { logger().error(shown_as_utf8(text)); }

}  // namespace rondo::log

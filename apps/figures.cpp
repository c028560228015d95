// SPDX-License-Identifier: Apache-2.0
#include "apps/figures.hpp"

#include <spdlog/fmt/fmt.h>

namespace rondo {

std::string figure_text(double value, std::string_view unit) {
  constexpr std::string_view kPrefixes = " kMGTPE";
  std::size_t power = 0;
  // 999.95 would be rounded to 1000
  for (; value >= 999.95 && power + 1 < kPrefixes.size(); ++power) value /= 1000;
  const std::string_view prefix = power == 0 ? "" : kPrefixes.substr(power, 1);
  const std::string_view gap = prefix.empty() && unit.empty() ? "" : " ";
  return fmt::format("{:.4g}{}{}{}", value, gap, prefix, unit);
}

std::string counted(std::int64_t count, std::string_view noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

std::string bytes_text(std::int64_t bytes) {
  const double mib = static_cast<double>(bytes) / (1 << 20);
  return mib < 1024.0 ? fmt::format("{:.1f} MiB", mib) : fmt::format("{:.1f} GiB", mib / 1024.0);
}

}  // namespace rondo

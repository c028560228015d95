// SPDX-License-Identifier: Apache-2.0
#include "config/rule.hpp"

#include <bit>

#include "core/utf8.hpp"

namespace rondo {

namespace {

// Large powers of two and their predecessors as such: "2^40", "2^31 - 1".
std::string print_bound(std::int64_t bound) {
  const auto bits = static_cast<std::uint64_t>(bound);
  if (bound < 1 << 16) return std::to_string(bound);
  if (std::has_single_bit(bits)) return "2^" + std::to_string(std::countr_zero(bits));
  if (std::has_single_bit(bits + 1)) return "2^" + std::to_string(std::countr_zero(bits + 1)) + " - 1";
  return std::to_string(bound);
}

std::string print_bound(double bound) {
  const bool is_plain = bound == std::floor(bound) && std::abs(bound) < 1e6;
  return is_plain ? std::to_string(static_cast<int>(bound)) : to_toml(Value(bound));
}

}  // namespace

std::string Integers::text() const { return "an integer from " + print_bound(least) + " to " + print_bound(most); }

std::optional<std::int64_t> Integers::read(const Value& value) const {
  const auto* number = std::get_if<std::int64_t>(&value);
  return number != nullptr && *number >= least && *number <= most ? std::optional(*number) : std::nullopt;
}

std::optional<int> AllOrCount::read(const Value& value) const {
  if (value == Value("all")) return 0;
  const std::optional<std::int64_t> count = Integers{1}.read(value);
  return count ? std::optional(static_cast<int>(*count)) : std::nullopt;
}

std::string Numbers::text() const {
  std::string result = "a number";
  if (std::isfinite(least)) result += (above_least ? " > " : " >= ") + print_bound(least);
  if (std::isfinite(least) && std::isfinite(most)) result += " and";
  if (std::isfinite(most)) result += (below_most ? " < " : " <= ") + print_bound(most);
  return result;
}

std::optional<double> Numbers::read(const Value& value) const {
  const auto* whole = std::get_if<std::int64_t>(&value);
  const auto* real = std::get_if<double>(&value);
  if (whole == nullptr && real == nullptr) return std::nullopt;
  const double number = whole != nullptr ? static_cast<double>(*whole) : *real;
  const bool in_range = std::isfinite(number) && (above_least ? number > least : number >= least) &&
                        (below_most ? number < most : number <= most);
  return in_range ? std::optional(number) : std::nullopt;
}

std::string Duration::text() const { return "a duration such as \"23h40m\" or \"90s\", or a number of seconds"; }

std::optional<double> Duration::read(const Value& value) const {
  if (const auto* text = std::get_if<std::string>(&value)) return parse_duration(*text);
  return Numbers{.least = 0.0}.read(value);
}

std::optional<bool> Flag::read(const Value& value) const {
  const auto* flag = std::get_if<bool>(&value);
  return flag == nullptr ? std::nullopt : std::optional(*flag);
}

std::optional<std::optional<bool>> AutoOrFlag::read(const Value& value) const {
  if (value == Value("auto")) return std::optional<bool>{};
  const std::optional<bool> flag = Flag{}.read(value);
  if (!flag) return std::nullopt;  // not `return flag`, which would mean auto
  return flag;
}

std::optional<std::string> Path::read(const Value& value) const {
  const auto* path = std::get_if<std::string>(&value);
  const bool is_clean = path != nullptr && path->find('\0') == std::string::npos && is_utf8(*path);
  return is_clean ? std::optional(*path) : std::nullopt;
}

}  // namespace rondo

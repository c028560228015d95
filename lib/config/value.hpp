// SPDX-License-Identifier: Apache-2.0
// The value of one key, between its text and its typed member: the types that a file may contain, and how values are written.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace rondo {

using WordList = std::vector<std::string>;
using Value = std::variant<bool, std::int64_t, double, std::string, WordList>;

/// As TOML; numbers are the shortest text that reads back as the same value.
std::string to_toml(const Value& value);
/// As JSON. @pre numbers are finite
std::string to_json(const Value& value);
/// For messages: the value, with its type where that matters, e.g. `the text "12"`.
std::string describe(const Value& value);

/// "1d", "23h40m", "90s", "1.5h" or plain seconds; the units d, h, m, s in this order, each at most once.
/// @returns seconds >= 0
std::optional<double> parse_duration(std::string_view text);
/// e.g. "23h40m"; parse_duration reads it back as the same number.
std::string print_duration(double seconds);

}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
#include "config/value.hpp"

#include <array>
#include <charconv>
#include <cmath>

namespace rondo {

namespace {

std::string print_number(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number > 0 ? "inf" : "-inf";
  std::array<char, 64> buffer;
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), number).ptr;
  std::string text(buffer.data(), end);
  const std::size_t exponent = text.find('e');
  if (exponent == std::string::npos) {
    return text.find('.') == std::string::npos ? text + ".0" : text;
  }
  // "1e-05" -> "1e-5", "1e+20" -> "1e20"
  std::size_t digits = exponent + 1;
  if (text[digits] == '+') text.erase(digits, 1);
  if (text[digits] == '-') ++digits;
  while (text[digits] == '0' && digits + 1 < text.size()) text.erase(digits, 1);
  return text;
}

// A double-quoted string. TOML and JSON have the same escapes, except that TOML also requires DEL to be escaped, which JSON
// allows.
std::string quoted(std::string_view text) {
  static constexpr std::string_view kHex = "0123456789abcdef";
  std::string result = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    switch (c) {
      case '"': result += "\\\""; break;
      case '\\': result += "\\\\"; break;
      case '\n': result += "\\n"; break;
      case '\t': result += "\\t"; break;
      case '\r': result += "\\r"; break;
      default:
        if (byte < 0x20 || byte == 0x7f) {
          result += std::string("\\u00") + kHex[byte >> 4] + kHex[byte & 15];
        } else {
          result += c;
        }
    }
  }
  return result + "\"";
}

struct Writer {
  std::string operator()(bool value) const { return value ? "true" : "false"; }
  std::string operator()(std::int64_t value) const { return std::to_string(value); }
  std::string operator()(double value) const { return print_number(value); }
  std::string operator()(const std::string& value) const { return quoted(value); }
  std::string operator()(const WordList& words) const {
    std::string text = "[";
    for (const std::string& word : words) text += (text.size() > 1 ? ", " : "") + quoted(word);
    return text + "]";
  }
};

struct Unit {
  char letter;
  double seconds;
};
constexpr std::array<Unit, 4> kUnits{{{'d', 86400.0}, {'h', 3600.0}, {'m', 60.0}, {'s', 1.0}}};

}  // namespace

std::string to_toml(const Value& value) { return std::visit(Writer{}, value); }

std::string to_json(const Value& value) { return std::visit(Writer{}, value); }

std::string describe(const Value& value) {
  const std::string text = to_toml(value);
  return std::holds_alternative<std::string>(value) ? "the text " + text : text;
}

std::optional<double> parse_duration(std::string_view text) {
  const char* at = text.data();
  const char* end = at + text.size();
  double total = 0.0;
  std::size_t next_unit = 0;
  if (at == end) return std::nullopt;
  while (at != end) {
    double number = 0.0;
    const auto parsed = std::from_chars(at, end, number, std::chars_format::fixed);
    if (parsed.ec != std::errc{} || !(number >= 0.0) || std::signbit(number) || !std::isfinite(number)) {
      return std::nullopt;
    }
    if (parsed.ptr == end) {  // no unit: seconds, which must be the whole text
      return at == text.data() ? std::optional(number) : std::nullopt;
    }
    while (next_unit < kUnits.size() && kUnits[next_unit].letter != *parsed.ptr) ++next_unit;
    if (next_unit == kUnits.size()) return std::nullopt;
    total += number * kUnits[next_unit++].seconds;
    at = parsed.ptr + 1;
  }
  return total;
}

std::string print_duration(double seconds) {
  constexpr double kLargestExact = 9e15;  // whole numbers of seconds below it are exact in fp64
  if (!(seconds < kLargestExact) || seconds != std::floor(seconds)) {
    std::array<char, 400> buffer;
    const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), seconds, std::chars_format::fixed).ptr;
    return std::string(buffer.data(), end) + "s";
  }
  auto left = static_cast<std::int64_t>(seconds);
  std::string text;
  for (const Unit& unit : kUnits) {
    const auto unit_seconds = static_cast<std::int64_t>(unit.seconds);
    if (left >= unit_seconds) text += std::to_string(left / unit_seconds) + unit.letter;
    left %= unit_seconds;
  }
  return text.empty() ? "0s" : text;
}

}  // namespace rondo

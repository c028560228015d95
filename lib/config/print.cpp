// SPDX-License-Identifier: Apache-2.0
#include "config/print.hpp"

#include <cstdint>
#include <spdlog/fmt/fmt.h>

namespace rondo {

namespace {

// FNV-1a, 64 bits.
std::uint64_t hash_of(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325U;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
  return hash;
}

std::string_view note_on(Change change) {
  switch (change) {
    case Change::Free: return "";
    case Change::OnRequest: return " (needs --allow-change)";
    case Change::Never: return " (cannot change in a continued run)";
  }
  return "";
}

}  // namespace

std::string to_toml(const RunConfig& config) {
  std::string text;
  for (const std::string& table : all_tables()) {
    text += (text.empty() ? "[" : "\n[") + table + "]\n";
    for (const Field& field : all_fields()) {
      if (field.table == table) text += field.key + " = " + to_toml(field.get(config)) + "\n";
    }
  }
  return text;
}

std::string to_json(const RunConfig& config) {
  std::string text;
  for (const std::string& table : all_tables()) {
    std::string inner;
    for (const Field& field : all_fields()) {
      if (field.table != table) continue;
      inner += (inner.empty() ? "" : ", ") + to_json(Value(field.key)) + ": " + to_json(field.get(config));
    }
    text += (text.empty() ? "" : ", ") + to_json(Value(table)) + ": {" + inner + "}";
  }
  return "{" + text + "}";
}

std::string agreement_digest(const RunConfig& config) { return fmt::format("{:016x}", hash_of(to_toml(config))); }

std::vector<Difference> differences(const RunConfig& before, const RunConfig& after) {
  std::vector<Difference> result;
  for (const Field& field : all_fields()) {
    const std::string old_value = to_toml(field.get(before));
    const std::string new_value = to_toml(field.get(after));
    if (old_value != new_value) result.push_back({field.name(), old_value, new_value, field.change});
  }
  return result;
}

std::string to_string(const Difference& difference) {
  return difference.key + ": " + difference.before + " -> " + difference.after +
         std::string(note_on(difference.change));
}

}  // namespace rondo

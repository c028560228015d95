// SPDX-License-Identifier: Apache-2.0
// The only reader of TOML: converts a text to a flat list of keys with their locations.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "config/problem.hpp"
#include "config/value.hpp"

namespace rondo {

struct WrittenKey {
  std::string table, key;              // table is empty for a key before the first [table]
  std::optional<Value> value;          // empty for kinds that no key accepts: tables, dates, mixed lists
  std::string kind;                    // what was written, for messages: "a table", "a date", ...
  std::string key_where, value_where;  // file:line:column
};

struct WrittenTable {
  std::string name;
  std::string where;
};

struct TomlText {
  std::vector<WrittenKey> keys;
  std::vector<WrittenTable> tables;
  std::optional<Problem> syntax_error;  // if set, the rest is empty
};

TomlText read_toml(const std::string& text, const std::string& name);

/// One value as on the right of "="; empty if it is not TOML, or of a kind that no key accepts.
std::optional<Value> read_toml_value(const std::string& text);

}  // namespace rondo

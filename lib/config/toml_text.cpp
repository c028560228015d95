// SPDX-License-Identifier: Apache-2.0
#include "config/toml_text.hpp"

#include <algorithm>
#include <toml++/toml.h>

namespace rondo {

namespace {

std::string place(const std::string& name, const toml::source_position& at) {
  return at.line == 0 ? name : name + ":" + std::to_string(at.line) + ":" + std::to_string(at.column);
}

std::optional<Value> value_of_node(const toml::node& node) {
  if (const auto* flag = node.as_boolean()) return Value(flag->get());
  if (const auto* integer = node.as_integer()) return Value(std::int64_t{integer->get()});
  if (const auto* number = node.as_floating_point()) return Value(number->get());
  if (const auto* text = node.as_string()) return Value(text->get());
  if (const auto* array = node.as_array()) {
    WordList words;
    for (const toml::node& entry : *array) {
      if (!entry.is_string()) return std::nullopt;
      words.push_back(entry.as_string()->get());
    }
    return Value(words);
  }
  return std::nullopt;
}

std::string kind_of(const toml::node& node) {
  if (node.is_table()) return "a table";
  if (node.is_array_of_tables()) return "a list of tables";
  if (node.is_array()) return "a list";
  return "a date or time";
}

WrittenKey written_key(const std::string& name, const std::string& table, const toml::key& key,
                       const toml::node& node) {
  return {.table = table,
          .key = std::string(key.str()),
          .value = value_of_node(node),
          .kind = kind_of(node),
          .key_where = place(name, key.source().begin),
          .value_where = place(name, node.source().begin)};
}

// toml++ keeps tables sorted by name; problems are reported in the order of the file.
std::vector<std::pair<const toml::key*, const toml::node*>> in_file_order(const toml::table& table) {
  std::vector<std::pair<const toml::key*, const toml::node*>> entries;
  for (const auto& [key, node] : table) entries.emplace_back(&key, &node);
  std::ranges::sort(entries, {}, [](const auto& entry) {
    const toml::source_position at = entry.first->source().begin;
    return std::pair(at.line, at.column);
  });
  return entries;
}

}  // namespace

TomlText read_toml(const std::string& text, const std::string& name) {
  TomlText result;
  toml::table root;
  try {
    root = toml::parse(text, name);
  } catch (const toml::parse_error& error) {
    result.syntax_error = Problem{.keys = {},
                                  .message = "not valid TOML: " + std::string(error.description()),
                                  .fix = "a line is `key = value` under its [table]; text is in double quotes",
                                  .where = place(name, error.source().begin)};
    return result;
  }
  for (const auto& [key, node] : in_file_order(root)) {
    const toml::table* table = node->as_table();
    if (table == nullptr) {
      result.keys.push_back(written_key(name, "", *key, *node));
      continue;
    }
    const std::string table_name(key->str());
    result.tables.push_back({table_name, place(name, key->source().begin)});
    for (const auto& [inner_key, inner_node] : in_file_order(*table)) {
      result.keys.push_back(written_key(name, table_name, *inner_key, *inner_node));
    }
  }
  return result;
}

std::optional<Value> read_toml_value(const std::string& text) {
  if (text.find_first_of("\r\n") != std::string::npos) return std::nullopt;
  try {
    const toml::table table = toml::parse("value = " + text);
    const toml::node* node = table.get("value");
    return node == nullptr ? std::nullopt : value_of_node(*node);
  } catch (const toml::parse_error&) {
    return std::nullopt;
  }
}

}  // namespace rondo

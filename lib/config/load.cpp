// SPDX-License-Identifier: Apache-2.0
#include "config/load.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

#include "config/field.hpp"
#include "config/spelling.hpp"
#include "config/toml_text.hpp"
#include "config/validate.hpp"

namespace rondo {

namespace {

constexpr std::uintmax_t kMostFileBytes = 1 << 20;

std::string read_file(const std::string& path) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) {
    throw ConfigError("there is no such configuration file", path, "ready ones are in configs/");
  }
  if (!std::filesystem::is_regular_file(status)) throw ConfigError("this is no regular file", path);
  if (std::filesystem::file_size(path, error) > kMostFileBytes) {
    throw ConfigError("this is larger than 1 MiB, no configuration file", path, "is it the corpus?");
  }
  std::ifstream stream(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(stream), {}};
  if (!stream) throw ConfigError("this file cannot be read", path, "check its permissions");
  return text;
}

// Corrects common mistakes; suggests the default otherwise.
std::string fix_for(const Field& field, const std::optional<Value>& value) {
  const auto* real = value ? std::get_if<double>(&*value) : nullptr;
  const auto* text = value ? std::get_if<std::string>(&*value) : nullptr;
  RunConfig scratch;
  if (real != nullptr && *real == std::floor(*real) && std::abs(*real) < 9e15) {
    const Value whole = static_cast<std::int64_t>(*real);
    if (field.set(scratch, whole)) return "write " + to_toml(whole);
  }
  if (text != nullptr) {
    const std::optional<Value> unquoted = read_toml_value(*text);
    if (unquoted && field.set(scratch, *unquoted)) return "write " + *text + " without quotes";
  }
  if (text != nullptr) {
    if (const auto meant = suggest_word(field, *text)) return "did you mean \"" + *meant + "\"?";
  }
  if (field.required) return "see [" + field.table + "] in docs/reference/configuration.md";
  return "the default is " + to_toml(field.get(RunConfig{})) + ", which is taken when the line is removed";
}

class Drafter {
 public:
  explicit Drafter(std::string name) { draft_.name = std::move(name); }

  void take_file(const std::string& text) {
    const TomlText toml = read_toml(text, draft_.name);
    if (toml.syntax_error) {
      draft_.problems.push_back(*toml.syntax_error);
      is_readable_ = false;
    }
    for (const WrittenTable& table : toml.tables) take_table(table);
    for (const WrittenKey& key : toml.keys) take_key(key);
  }

  void take_override(const std::string& argument) {
    const std::string where = "--set " + argument;
    const std::size_t equals = argument.find('=');
    const std::size_t dot = argument.find('.');
    if (equals == std::string::npos || dot == std::string::npos || dot > equals) {
      draft_.problems.push_back({{}, "an override has the form table.key=value", "e.g. --set train.steps=100", where});
      return;
    }
    const std::string table = argument.substr(0, dot);
    const std::string key = argument.substr(dot + 1, equals - dot - 1);
    const std::string text = argument.substr(equals + 1);
    const Field* field = find_field(table, key);
    if (field == nullptr) {
      draft_.problems.push_back(unknown_key(table, key, where));
      return;
    }
    forget_problems_of(field->name());
    const std::optional<Value> value = read_toml_value(text);
    RunConfig& config = draft_.config;
    if (!(value && field->set(config, *value)) && !(field->takes_text && field->set(config, Value(text)))) {
      add_broken_rule(*field, value ? value : std::optional<Value>(text), where);
    }
    draft_.origins[field->name()] = where;
  }

  ConfigDraft finish() {
    for (const Field& field : all_fields()) {
      if (!field.required || !is_readable_ || draft_.origins.contains(field.name())) continue;
      const auto table = table_places_.find(field.table);
      draft_.problems.push_back({{field.name()},
                                 field.name() + " is missing: it must be " + field.rule,
                                 "add `" + field.key + " = ...` under [" + field.table + "]",
                                 table == table_places_.end() ? draft_.name : table->second});
    }
    return std::move(draft_);
  }

 private:
  void take_table(const WrittenTable& table) {
    table_places_[table.name] = table.where;
    const auto tables = all_tables();
    if (std::ranges::find(tables, table.name) == tables.end()) {
      draft_.problems.push_back(unknown_table(table.name, table.where));
    }
  }

  void take_key(const WrittenKey& written) {
    const auto tables = all_tables();
    if (!written.table.empty() && std::ranges::find(tables, written.table) == tables.end()) return;  // already reported
    const Field* field = find_field(written.table, written.key);
    if (field == nullptr) {
      draft_.problems.push_back(unknown_key(written.table, written.key, written.key_where));
      return;
    }
    draft_.origins[field->name()] = written.value_where;
    if (written.value && field->set(draft_.config, *written.value)) return;
    if (written.value) {
      add_broken_rule(*field, written.value, written.value_where);
    } else {
      draft_.problems.push_back({{field->name()},
                                 field->name() + " must be " + field->rule + ", but is " + written.kind,
                                 fix_for(*field, std::nullopt),
                                 written.value_where});
    }
  }

  void add_broken_rule(const Field& field, const std::optional<Value>& value, const std::string& where) {
    draft_.problems.push_back({{field.name()},
                               field.name() + " must be " + field.rule + ", but is " + describe(*value),
                               fix_for(field, value),
                               where});
  }

  // An override replaces the value in the file, valid or not.
  void forget_problems_of(const std::string& name) {
    std::erase_if(draft_.problems,
                  [&](const Problem& problem) { return !problem.keys.empty() && problem.keys.front() == name; });
  }

  ConfigDraft draft_;
  std::map<std::string, std::string> table_places_;
  bool is_readable_ = true;
};

RunConfig checked(const ConfigDraft& draft, int world_size) {
  std::vector<Problem> problems = all_problems(draft, world_size);
  if (!problems.empty()) throw ConfigProblems(std::move(problems));
  return draft.config;
}

}  // namespace

ConfigDraft draft_config_text(const std::string& text, const std::string& name,
                              std::span<const std::string> overrides) {
  Drafter drafter(name);
  drafter.take_file(text);
  for (const std::string& argument : overrides) drafter.take_override(argument);
  return drafter.finish();
}

ConfigDraft draft_config(const std::string& path, std::span<const std::string> overrides) {
  return draft_config_text(read_file(path), path, overrides);
}

std::vector<Problem> all_problems(const ConfigDraft& draft, int world_size) {
  std::vector<Problem> problems = draft.problems;
  std::set<std::string> broken;
  for (const Problem& problem : draft.problems) broken.insert(problem.keys.begin(), problem.keys.end());
  for (Problem& problem : validate(draft.config, world_size)) {
    // Skip rules about keys that could not be read.
    if (std::ranges::any_of(problem.keys, [&](const std::string& key) { return broken.contains(key); })) continue;
    for (const std::string& key : problem.keys) {
      const auto origin = draft.origins.find(key);
      if (problem.where.empty() && origin != draft.origins.end()) problem.where = origin->second;
    }
    if (problem.where.empty()) problem.where = draft.name;
    problems.push_back(std::move(problem));
  }
  return problems;
}

RunConfig load_config(const std::string& path, std::span<const std::string> overrides, int world_size) {
  return checked(draft_config(path, overrides), world_size);
}

RunConfig load_config_text(const std::string& text, const std::string& name, std::span<const std::string> overrides,
                           int world_size) {
  return checked(draft_config_text(text, name, overrides), world_size);
}

}  // namespace rondo

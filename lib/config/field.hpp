// SPDX-License-Identifier: Apache-2.0
// One key of the configuration: its member, meaning and rule. Each key is listed once, in fields.cpp; loading, --set,
// checking, printing, the digest, the comparison of runs and the reference page all use that list.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "config/run_config.hpp"
#include "config/value.hpp"

namespace rondo {

/// Whether a key may change when a run is resumed.
enum class Change { Free, OnRequest, Never };

struct Field {
  std::string table, key;
  std::string rule;  // completes "must be ...", e.g. "an integer >= 1"
  std::string meaning;
  Change change = Change::Never;
  bool required = false;
  bool takes_text = false;  // --set then needs no quotes

  std::function<Value(const RunConfig&)> get;
  /// Returns false, and leaves the configuration alone, when the value breaks the rule.
  std::function<bool(RunConfig&, const Value&)> set;

  std::string name() const { return table + "." + key; }
};

/// All keys, table by table, in the order in which they are printed.
std::span<const Field> all_fields();
/// Null when there is no such key.
const Field* find_field(std::string_view table, std::string_view key);
/// @returns the tables, in order.
std::vector<std::string> all_tables();

/// Appends the keys of one table.
template <typename Table> class FieldList {
 public:
  FieldList(std::vector<Field>& fields, std::string table, Table RunConfig::*section, Change change)
      : fields_(fields), table_(std::move(table)), section_(section), change_(change) {}

  template <typename T, typename Rule>
  FieldList& add(std::string key, T Table::*member, const Rule& rule, std::string meaning) {
    Field& field = fields_.emplace_back();
    field.table = table_;
    field.key = std::move(key);
    field.rule = rule.text();
    field.meaning = std::move(meaning);
    field.change = change_;
    field.takes_text = Rule::takes_text;
    field.get = [section = section_, member, rule](const RunConfig& config) -> Value {
      return rule.write(config.*section.*member);
    };
    field.set = [section = section_, member, rule](RunConfig& config, const Value& value) {
      const auto accepted = rule.read(value);
      if (accepted) config.*section.*member = static_cast<T>(*accepted);
      return accepted.has_value();
    };
    return *this;
  }

  /// These two apply to the key added last.
  FieldList& required() {
    fields_.back().required = true;
    return *this;
  }
  FieldList& change(Change change) {
    fields_.back().change = change;
    return *this;
  }

 private:
  std::vector<Field>& fields_;
  std::string table_;
  Table RunConfig::*section_;
  Change change_;
};

}  // namespace rondo

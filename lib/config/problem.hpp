// SPDX-License-Identifier: Apache-2.0
// The problems in a configuration: all of them at once, each with its location, its rule and a fix.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "core/error.hpp"

namespace rondo {

struct Problem {
  std::vector<std::string> keys;  // "table.key", the one to blame first
  std::string message;            // names the rule, the value and the computed numbers
  std::string fix;                // what to write instead
  std::string where = {};         // file:line:column or the --set argument; empty if there is none
};

/// e.g. "a.toml:3:9: model.layers must be an integer from 1 to 10000, but is -2\n    fix: ..."
std::string to_string(const Problem& problem);

/// Carries every problem found; what() lists them.
class ConfigProblems : public ConfigError {
 public:
  /// @pre at least one problem
  explicit ConfigProblems(std::vector<Problem> problems);
  std::span<const Problem> problems() const { return problems_; }

 private:
  std::vector<Problem> problems_;
};

}  // namespace rondo

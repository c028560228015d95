// SPDX-License-Identifier: Apache-2.0
#include "config/problem.hpp"

#include <utility>

namespace rondo {

namespace {

std::string list(const std::vector<Problem>& problems) {
  ensure(!problems.empty(), "an error about a configuration has at least one problem");
  if (problems.size() == 1) return to_string(problems.front());
  std::string text = std::to_string(problems.size()) + " problems in the configuration";
  for (const Problem& problem : problems) text += "\n  " + to_string(problem);
  return text;
}

}  // namespace

std::string to_string(const Problem& problem) {
  std::string text = problem.where.empty() ? problem.message : problem.where + ": " + problem.message;
  return problem.fix.empty() ? text : text + "\n    fix: " + problem.fix;
}

ConfigProblems::ConfigProblems(std::vector<Problem> problems)
    : ConfigError(list(problems)), problems_(std::move(problems)) {}

}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
// Makes a RunConfig from a TOML file and --set overrides, and collects every problem found.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "config/problem.hpp"
#include "config/run_config.hpp"

namespace rondo {

/// A configuration that may still have problems; keys with problems keep their defaults.
struct ConfigDraft {
  std::string name;  // the file, for messages
  RunConfig config;
  std::vector<Problem> problems;               // in single keys
  std::map<std::string, std::string> origins;  // "table.key" -> file:line:column or the --set argument
};

/// Throws ConfigError only when the file cannot be read.
/// @param overrides each "table.key=value"; the last one for a key wins
ConfigDraft draft_config(const std::string& path, std::span<const std::string> overrides);
/// The same from text; `name` stands for the file in messages.
ConfigDraft draft_config_text(const std::string& text, const std::string& name, std::span<const std::string> overrides);

/// The problems in single keys and, between keys without problems, those of validate() (config/validate.hpp),
/// each with its location. @param world_size 0: not known yet
std::vector<Problem> all_problems(const ConfigDraft& draft, int world_size);

/// Throws ConfigProblems with all of them.
RunConfig load_config(const std::string& path, std::span<const std::string> overrides, int world_size = 0);
RunConfig load_config_text(const std::string& text, const std::string& name,
                           std::span<const std::string> overrides = {}, int world_size = 0);

}  // namespace rondo

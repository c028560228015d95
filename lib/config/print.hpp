// SPDX-License-Identifier: Apache-2.0
// A configuration as text: what the start of a run prints, and what run folders and checkpoints keep.
#pragma once

#include <string>
#include <vector>

#include "config/field.hpp"
#include "config/run_config.hpp"

namespace rondo {

/// Every key with its value; load_config_text() reads the same configuration back.
std::string to_toml(const RunConfig& config);
/// One object an own line-free document: {"model": {"layers": 2, ...}, ...}.
std::string to_json(const RunConfig& config);
/// 64 bits over all values, as 16 hexadecimal digits: ranks whose digests differ were told different things.
std::string agreement_digest(const RunConfig& config);

struct Difference {
  std::string key, before, after;  // values as TOML
  Change change;
};
/// The keys that differ, with whether they may when a run is continued. Give resolved configurations.
std::vector<Difference> differences(const RunConfig& before, const RunConfig& after);
/// e.g. "train.learning_rate: 0.001 -> 0.002 (needs --allow-change)"
std::string to_string(const Difference& difference);

/// The text of docs/reference/configuration.md.
std::string reference_page();

}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
// A configuration as text, as printed at the start of a run and stored in run folders and checkpoints.
#pragma once

#include <string>
#include <vector>

#include "config/field.hpp"
#include "config/run_config.hpp"

namespace rondo {

/// Every key with its value; load_config_text() reads the same configuration back.
std::string to_toml(const RunConfig& config);
/// One JSON object, on one line: {"model": {"layers": 2, ...}, ...}.
std::string to_json(const RunConfig& config);
/// A 64-bit hash of all values, as 16 hexadecimal digits: ranks whose digests differ have different configurations.
std::string agreement_digest(const RunConfig& config);

struct Difference {
  std::string key, before, after;  // values as TOML
  Change change;
};
/// The keys that differ, each with whether it may change when a run is resumed. @pre both are resolved
std::vector<Difference> differences(const RunConfig& before, const RunConfig& after);
/// e.g. "train.learning_rate: 0.001 -> 0.002 (needs --allow-change)"
std::string to_string(const Difference& difference);

/// The text of docs/reference/configuration.md.
std::string reference_page();

}  // namespace rondo

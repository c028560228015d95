// SPDX-License-Identifier: Apache-2.0
// Rules between keys, and between keys and the number of ranks. Rules of single keys are in fields.cpp.
#pragma once

#include <vector>

#include "config/problem.hpp"
#include "config/run_config.hpp"

namespace rondo {

/// Every broken rule, with the computed numbers. Accepts any values.
/// @param world_size number of ranks; 0: not known yet, rules about it are skipped
std::vector<Problem> validate(const RunConfig& config, int world_size);

}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
// Rules between keys, and between keys and the number of ranks. Rules of single keys are in fields.cpp.
#pragma once

#include <vector>

#include "config/problem.hpp"
#include "config/run_config.hpp"

namespace rondo {

/// Every broken rule, with the computed numbers. Safe on any values.
/// @param world_size ranks that will run; 0: not known yet, rules about it are left out
std::vector<Problem> validate(const RunConfig& config, int world_size);

}  // namespace rondo

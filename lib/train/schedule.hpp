// SPDX-License-Identifier: Apache-2.0
// The learning rate of each step.
#pragma once

#include <cstdint>
#include <string>

#include "config/train_config.hpp"

namespace rondo {

/// Linear warm-up over warmup_steps, then cosine or linear decay to minimum_learning_rate_fraction at the
/// last step, or constant. @param step 1 for the first update
double learning_rate_at(const TrainConfig& config, std::int64_t step);

/// Describes how the learning rate changes when a run continues after `step` with another number of steps or another schedule;
/// empty if the remaining steps keep their rates.
std::string schedule_change(const TrainConfig& before, const TrainConfig& now, std::int64_t step);

}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
// The learning rate of each step.
#pragma once

#include <cstdint>

#include "config/train_config.hpp"

namespace rondo {

/// Linear warm-up over warmup_steps, then cosine or linear decay to minimum_learning_rate_fraction at the
/// last step, or constant. @param step 1 for the first update
double learning_rate_at(const TrainConfig& config, std::int64_t step);

}  // namespace rondo

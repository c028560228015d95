// SPDX-License-Identifier: Apache-2.0
#include "train/schedule.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace rondo {

double learning_rate_at(const TrainConfig& config, std::int64_t step) {
  const double peak = config.learning_rate;
  if (step <= config.warmup_steps) return peak * static_cast<double>(step) / static_cast<double>(config.warmup_steps);
  const std::int64_t decay_steps = std::max<std::int64_t>(1, config.steps - config.warmup_steps);
  const double progress =
      std::min(1.0, static_cast<double>(step - config.warmup_steps) / static_cast<double>(decay_steps));
  const double floor = config.minimum_learning_rate_fraction;
  switch (config.schedule) {
    case ScheduleKind::Constant: return peak;
    case ScheduleKind::Linear: return peak * (1.0 - (1.0 - floor) * progress);
    case ScheduleKind::Cosine:
      return peak * (floor + (1.0 - floor) * 0.5 * (1.0 + std::cos(std::numbers::pi * progress)));
  }
  return peak;
}

}  // namespace rondo

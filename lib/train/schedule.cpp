// SPDX-License-Identifier: Apache-2.0
#include "train/schedule.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <spdlog/fmt/fmt.h>

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

std::string schedule_change(const TrainConfig& before, const TrainConfig& now, std::int64_t step) {
  const double planned = learning_rate_at(before, step + 1), next = learning_rate_at(now, step + 1);
  const bool later_steps_differ = now.schedule != before.schedule || now.warmup_steps != before.warmup_steps ||
                                  now.minimum_learning_rate_fraction != before.minimum_learning_rate_fraction ||
                                  (now.steps != before.steps && now.schedule != ScheduleKind::Constant);
  if (planned == next && !later_steps_differ) return {};
  const std::string kind(word_of(now.schedule));
  const std::string steps =
      now.steps == before.steps ? std::to_string(now.steps) : fmt::format("{}, {} before", now.steps, before.steps);
  return fmt::format(
      "the learning rate changes: it was {:.3g} in step {}, is {:.3g} in step {}, and {:.3g} in the last step, by the "
      "{} "
      "schedule over train.steps = {}",
      learning_rate_at(before, step), step, next, step + 1, learning_rate_at(now, now.steps), kind, steps);
}

}  // namespace rondo

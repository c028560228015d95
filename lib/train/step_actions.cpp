// SPDX-License-Identifier: Apache-2.0
#include "train/step_actions.hpp"

namespace rondo {

namespace {

bool due(std::int64_t step, std::int64_t every) { return every > 0 && step % every == 0; }

}  // namespace

StepPlanner::StepPlanner(const Communicator& world, const RunConfig& config) : world_(world), config_(config) {}

StepActions StepPlanner::decide(std::int64_t step, bool signalled, double step_s) {
  enum Wish : std::int64_t { kStop = 1, kCheckpoint = 2 };
  std::int64_t wishes = 0;
  if (signalled) wishes |= kStop;
  if (world_.rank() == 0) {
    const auto seconds_since = [](Clock::time_point then) {
      return std::chrono::duration<double>(Clock::now() - then).count();
    };
    // Twice the time of one more step and a save must fit before the limit.
    const double limit_s = config_.train.time_limit;
    if (limit_s > 0 && seconds_since(start_) + 2 * (step_s + save_s_) >= limit_s) wishes |= kStop;
    const double every_s = 60.0 * config_.checkpoint.every_minutes;
    if (every_s > 0 && seconds_since(last_checkpoint_) >= every_s) wishes |= kCheckpoint;
  }
  std::int64_t agreed = 0;
  for (std::int64_t of_rank : world_.all_gather(wishes)) agreed |= of_rank;

  StepActions actions;
  actions.finish = step >= config_.train.steps;
  actions.stop = (agreed & kStop) != 0 && !actions.finish;
  const bool last = actions.finish || actions.stop;
  actions.log = last || step == 1 || due(step, config_.log.every_steps);
  actions.checkpoint = last || due(step, config_.checkpoint.every_steps) || (agreed & kCheckpoint) != 0;
  actions.evaluate = evaluates_after(step);
  return actions;
}

bool StepPlanner::evaluates_after(std::int64_t step) const {
  return step == config_.train.steps || due(step, config_.evaluate.every_steps);
}

void StepPlanner::checkpoint_written(double save_s) {
  save_s_ = save_s;
  last_checkpoint_ = Clock::now();
}

}  // namespace rondo

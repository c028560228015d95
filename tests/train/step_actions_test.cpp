// SPDX-License-Identifier: Apache-2.0
#include "train/step_actions.hpp"

#include <gtest/gtest.h>

#include "tests/support/mpi_world.hpp"

namespace rondo {
namespace {

class StepPlannerTest : public testing::Test {
 protected:
  StepPlannerTest() {
    config_.train.steps = 100;
    config_.log.every_steps = 10;
    config_.evaluate.every_steps = 25;
    config_.checkpoint.every_steps = 40;
    config_.checkpoint.every_minutes = 0;
  }
  StepActions decide(std::int64_t step, bool signalled = false, double step_s = 0.001) {
    return StepPlanner(world_, config_).decide(step, signalled, step_s);
  }

  Communicator world_ = test::world();
  RunConfig config_;
};

void expect(const StepActions& actions, const StepActions& expected) {
  EXPECT_EQ(actions.log, expected.log);
  EXPECT_EQ(actions.checkpoint, expected.checkpoint);
  EXPECT_EQ(actions.evaluate, expected.evaluate);
  EXPECT_EQ(actions.finish, expected.finish);
  EXPECT_EQ(actions.stop, expected.stop);
}

TEST_F(StepPlannerTest, DoesNothingBetweenWhatIsDue) { expect(decide(7), {}); }

TEST_F(StepPlannerTest, LogsTheFirstStepAndEveryFew) {
  expect(decide(1), {.log = true});
  expect(decide(20), {.log = true});
}

TEST_F(StepPlannerTest, EvaluatesAndSavesWhenThatIsDue) {
  expect(decide(25), {.evaluate = true});
  expect(decide(40), {.log = true, .checkpoint = true});
  config_.evaluate.every_steps = 0;
  config_.checkpoint.every_steps = 0;
  expect(decide(25), {});
  expect(decide(40), {.log = true});
}

TEST_F(StepPlannerTest, DoesEverythingAfterTheLastStep) {
  config_.evaluate.every_steps = config_.checkpoint.every_steps = 0;
  config_.train.steps = 7;
  const StepActions all{.log = true, .checkpoint = true, .evaluate = true, .finish = true};
  expect(decide(7), all);
  expect(decide(7, true), all);  // a finished run is not stopped early
}

TEST_F(StepPlannerTest, StopsAllRanksWhenOneIsSignalled) {
  for (int signalled = 0; signalled < world_.size(); ++signalled) {
    expect(decide(7, world_.rank() == signalled), {.log = true, .checkpoint = true, .stop = true});
  }
}

// Only rank 0's clock decides; those of other ranks may differ.
TEST_F(StepPlannerTest, StopsWhenAnotherStepAndASaveMayNotFitBeforeTheLimit) {
  config_.train.time_limit = 1e6;
  expect(decide(7, false, 1), {});
  const double long_step_s = world_.rank() == 0 ? 5e5 : 0;
  expect(decide(7, false, long_step_s), {.log = true, .checkpoint = true, .stop = true});
  StepPlanner planner(world_, config_);
  planner.checkpoint_written(world_.rank() == 0 ? 5e5 : 0);
  expect(planner.decide(7, false, 1), {.log = true, .checkpoint = true, .stop = true});
}

TEST_F(StepPlannerTest, SavesWhenTheTimeForItHasPassed) {
  config_.checkpoint.every_minutes = 1e-9;  // has always passed
  expect(decide(7), {.checkpoint = true});
  config_.checkpoint.every_minutes = 1e6;
  expect(decide(7), {});
}

TEST_F(StepPlannerTest, KnowsWhenAnEvaluationIsDue) {
  const StepPlanner planner(world_, config_);
  EXPECT_FALSE(planner.evaluates_after(24));
  EXPECT_TRUE(planner.evaluates_after(25));
  EXPECT_TRUE(planner.evaluates_after(100));
  EXPECT_FALSE(planner.evaluates_after(101));
}

}  // namespace
}  // namespace rondo

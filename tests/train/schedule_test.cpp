// SPDX-License-Identifier: Apache-2.0
#include "train/schedule.hpp"

#include <cmath>
#include <gtest/gtest.h>

#include "train/step_sums.hpp"

namespace rondo {
namespace {

TrainConfig config(ScheduleKind kind) {
  TrainConfig c;
  c.steps = 110;
  c.warmup_steps = 10;
  c.learning_rate = 2.0;
  c.minimum_learning_rate_fraction = 0.1;
  c.schedule = kind;
  return c;
}

TEST(Schedule, WarmsUpInALine) {
  for (ScheduleKind kind : {ScheduleKind::Constant, ScheduleKind::Linear, ScheduleKind::Cosine}) {
    EXPECT_DOUBLE_EQ(learning_rate_at(config(kind), 1), 0.2);
    EXPECT_DOUBLE_EQ(learning_rate_at(config(kind), 10), 2.0);
  }
}

TEST(Schedule, DecaysToTheMinimumAtTheLastStep) {
  EXPECT_DOUBLE_EQ(learning_rate_at(config(ScheduleKind::Constant), 110), 2.0);
  EXPECT_DOUBLE_EQ(learning_rate_at(config(ScheduleKind::Linear), 110), 0.2);
  EXPECT_DOUBLE_EQ(learning_rate_at(config(ScheduleKind::Cosine), 110), 0.2);
  EXPECT_DOUBLE_EQ(learning_rate_at(config(ScheduleKind::Linear), 60), 1.1);
  EXPECT_DOUBLE_EQ(learning_rate_at(config(ScheduleKind::Cosine), 60), 1.1);
  EXPECT_DOUBLE_EQ(learning_rate_at(config(ScheduleKind::Cosine), 35), 0.2 + 1.8 * 0.5 * (1.0 + std::sqrt(0.5)));
}

TEST(ScheduleChange, SaysNothingWhenTheStepsToComeKeepTheirRates) {
  TrainConfig now = config(ScheduleKind::Cosine);
  now.batch_sequences = 7;
  EXPECT_EQ(schedule_change(config(ScheduleKind::Cosine), now, 50), "");
  TrainConfig constant = config(ScheduleKind::Constant);
  constant.steps = 1000;
  EXPECT_EQ(schedule_change(config(ScheduleKind::Constant), constant, 50), "");
}

TEST(ScheduleChange, SaysWhatMoreStepsDoToTheRate) {
  TrainConfig now = config(ScheduleKind::Linear);  // 110 steps, from 2.0 at step 10 to 0.2
  now.steps = 210;
  EXPECT_EQ(schedule_change(config(ScheduleKind::Linear), now, 110),
            "the learning rate changes: it was 0.2 in step 110, is 1.09 in step 111, and 0.2 in the last step, by the "
            "linear schedule over train.steps = 210, 110 before");
}

TEST(ScheduleChange, SaysWhatAnotherScheduleDoesToTheRate) {
  const std::string said = schedule_change(config(ScheduleKind::Linear), config(ScheduleKind::Constant), 60);
  EXPECT_NE(said.find("it was 1.1 in step 60, is 2 in step 61, and 2 in the last step"), std::string::npos) << said;
}

TEST(ClipFactor, BringsTheNormDownToTheLimitAndLeavesSmallOnesAlone) {
  EXPECT_DOUBLE_EQ(clip_factor(4.0, 1.0), 0.25);
  EXPECT_DOUBLE_EQ(clip_factor(0.5, 1.0), 1.0);
  EXPECT_DOUBLE_EQ(clip_factor(4.0, 0.0), 1.0);
}

}  // namespace
}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
// A few steps, an evaluation, a save and a restart on two ranks: small enough for the sanitizers; and how training stops.
#include <csignal>
#include <gtest/gtest.h>
#include <limits>

#include "tests/train/training_world.hpp"

namespace rondo {
namespace {

class SmallTrainerTest : public testing::Test {
 protected:
  void SetUp() override {
    if (world_.rank() == 0) {
      test::make_corpus(folder_.path());
      std::filesystem::create_directories(checkpoints());
    }
    world_.barrier();
  }
  std::filesystem::path checkpoints() const { return folder_.path() / "checkpoints"; }

  Communicator world_ = test::world();
  test::SharedFolder folder_{world_};
  const std::vector<std::string> short_run_{"train.steps=3", "train.warmup_steps=0", "data.sequence_length=33"};
};

TEST_F(SmallTrainerTest, TrainsEvaluatesSavesAndGoesOn) {
  {
    test::TrainingWorld training(world_, folder_.path(), checkpoints(), short_run_);
    std::vector<std::string> records;
    training.trainer().on_record = [&](std::int64_t, const std::string& record) { records.push_back(record); };
    EXPECT_EQ(training.trainer().run(), TrainOutcome::Finished);
    if (world_.rank() == 0) {
      EXPECT_GE(records.size(), 2U) << "a logged step and an evaluation at least";
    }
  }
  test::TrainingWorld again(world_, folder_.path(), checkpoints(), short_run_);
  EXPECT_EQ(again.trainer().state().progress.step, 3);
}

TEST_F(SmallTrainerTest, StopsAllRanksAfterTheStepWhenOneIsSignalled) {
  test::TrainingWorld training(world_, folder_.path(), checkpoints(), {"train.steps=1000000"});
  if (world_.rank() == world_.size() - 1) std::raise(SIGUSR1);
  EXPECT_EQ(training.trainer().run(), TrainOutcome::Stopped);
  EXPECT_EQ(training.trainer().state().progress.step, 1);
  EXPECT_TRUE(std::filesystem::exists(checkpoints() / "step-1" / "commit.json"));
}

TEST_F(SmallTrainerTest, StopsBeforeTheUpdateWhenANumberIsNotFinite) {
  test::TrainingWorld training(world_, folder_.path(), checkpoints(), short_run_);
  training.losses(1);
  for (Parameter& parameter : training.trainer().parameters().parameters()) {
    if (parameter.name == "layers.1.qkv") *parameter.value.as<double>() = std::numeric_limits<double>::quiet_NaN();
  }
  const std::string before = training.state_bytes();
  try {
    training.trainer().step();
    FAIL() << "the step must not be made";
  } catch (const AgreedError& error) {
    EXPECT_EQ(error.kind(), ErrorKind::NonFinite);
    EXPECT_NE(error.message().find("step 2"), std::string::npos) << error.message();
    EXPECT_NE(error.message().find("layer 1"), std::string::npos) << error.message();
    EXPECT_NE(error.message().find("text-"), std::string::npos) << error.message();
  }
  EXPECT_EQ(training.state_bytes() == before, true) << "the state is that before the step";
}

}  // namespace
}  // namespace rondo

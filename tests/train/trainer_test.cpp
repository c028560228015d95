// SPDX-License-Identifier: Apache-2.0
// Training gives the same loss curve for every number of ranks and layout, and the same state after a restart with any of them.
#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <map>
#include <numeric>

#include "tests/train/training_world.hpp"

namespace rondo {
namespace {

constexpr int kSteps = 50;
const std::vector<int> kRankCounts{1, 2, 3, 4, 8};

double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
  return largest;
}

class TrainerTest : public testing::Test {
 protected:
  void SetUp() override {
    if (world_.rank() == 0) test::make_corpus(folder_.path());
    world_.barrier();
  }
  std::filesystem::path nowhere() const { return folder_.path() / "nowhere"; }

  // The loss curve on a group of the first ranks; empty on the others.
  std::vector<double> curve(int ranks, const std::vector<std::string>& changes, int steps = kSteps) {
    std::vector<double> losses;
    test::with_ranks(ranks, [&](const Communicator& group) {
      test::TrainingWorld training(group, folder_.path(), nowhere(), changes);
      losses = training.losses(steps);
    });
    return losses;
  }

  Communicator world_ = test::world();
  test::SharedFolder folder_{world_};
};

TEST_F(TrainerTest, GivesOneCurveOnEveryNumberOfRanksAndLayoutInFp64) {
  const std::vector<double> alone = curve(1, {});
  if (!alone.empty()) {
    EXPECT_GE(alone.front() - alone.back(), 1.0) << "the model must learn";
  }
  for (int ranks : kRankCounts) {
    for (const LayoutKind kind : kLayoutKinds) {
      const std::string layout(name_of(kind));
      const auto losses = curve(ranks, {"parallel.layout=" + layout});
      if (losses.empty() || alone.empty()) continue;  // rank 0 compares
      EXPECT_LE(largest_difference(losses, alone), 1e-10) << layout << " on " << ranks << " ranks";
    }
  }
}

TEST_F(TrainerTest, GivesNearlyOneCurveInFp32) {
  const std::vector<std::string> exact{"precision.compute=fp32"},
      infini{"precision.compute=fp32", "model.attention=infini", "model.segment_tokens=8", "model.window_segments=1",
             "model.memory_rule=delta"};
  for (const std::vector<std::string>& fp32 : {exact, infini}) {
    const std::vector<double> alone = curve(1, fp32);
    for (int ranks : {2, 3, 8}) {
      const auto losses = curve(ranks, fp32);
      if (losses.empty() || alone.empty()) continue;
      EXPECT_LE(std::abs(losses.front() - alone.front()), 1e-5) << fp32.back() << ", " << ranks << " ranks, first step";
      EXPECT_LE(largest_difference(losses, alone), 1e-4) << fp32.back() << ", " << ranks << " ranks, all steps";
    }
  }
}

TEST_F(TrainerTest, GivesOneCurveWithAMemory) {
  for (const char* rule : {"linear", "delta", "delta_corrected"}) {
    const std::vector<std::string> infini{"model.attention=infini", "model.segment_tokens=8",
                                          std::string("model.memory_rule=") + rule};
    const std::vector<double> alone = curve(1, infini, 20);
    for (int ranks : {2, 3, 8}) {
      const auto losses = curve(ranks, infini, 20);
      if (losses.empty() || alone.empty()) continue;
      EXPECT_LE(largest_difference(losses, alone), 1e-10) << rule << " on " << ranks << " ranks";
    }
  }
}

TEST_F(TrainerTest, RecordsWhatMemoriesAreLike) {
  MemoryStatistics alone;
  for (int ranks : {1, 3}) {
    test::with_ranks(ranks, [&](const Communicator& group) {
      const std::filesystem::path checkpoints = folder_.path() / ("memories-" + std::to_string(ranks));
      test::TrainingWorld training(group, folder_.path(), checkpoints,
                                   {"model.attention=[\"infini\",\"exact\"]", "model.segment_tokens=8", "train.steps=1",
                                    "train.warmup_steps=0", "evaluate.every_steps=1"});
      std::optional<MemoryStatistics> memory;
      training.trainer().on_metrics = [&](const MetricsRecord& metrics) {
        if (const auto* validation = std::get_if<ValidationRecord>(&metrics)) memory = validation->memory;
      };
      training.trainer().run();
      if (group.rank() != 0) return;
      ASSERT_TRUE(memory.has_value());
      const auto& gates = memory->gate_histogram;
      EXPECT_EQ(std::accumulate(gates.begin(), gates.end(), std::int64_t{0}), 4);  // heads of the one layer
      ASSERT_EQ(memory->norms.size(), 2U);
      EXPECT_GT(memory->norms[0], 0);
      EXPECT_EQ(memory->norms[1], 0);
      ASSERT_TRUE(memory->smallest_normaliser.has_value());
      EXPECT_GT(*memory->smallest_normaliser, 0);
      if (ranks == 1) alone = *memory;
      EXPECT_NEAR(memory->norms[0], alone.norms[0], 1e-9);
      EXPECT_NEAR(*memory->smallest_normaliser, *alone.smallest_normaliser, 1e-9);
    });
  }
}

TEST_F(TrainerTest, GivesOneCurveInSeveralSpans) {
  const std::vector<std::string> infini{"model.attention=infini", "model.segment_tokens=8", "train.batch_sequences=2",
                                        "model.memory_rule=delta"};
  const std::vector<double> whole = curve(1, infini, 10);
  for (int ranks : {1, 2, 3}) {
    std::vector<std::string> spans = infini;
    spans.emplace_back("memory.span_tokens=24");
    const auto losses = curve(ranks, spans, 10);
    if (losses.empty() || whole.empty()) continue;
    EXPECT_LE(largest_difference(losses, whole), 1e-10) << ranks << " ranks";
  }
}

TEST_F(TrainerTest, GivesOneCurveForDataAndRingAndAccumulation) {
  const auto alone = curve(1, {"train.batch_sequences=4"}, 10);
  for (const auto& [ranks, ring] : std::map<int, int>{{2, 1}, {4, 2}, {8, 2}}) {
    const auto losses = curve(ranks, {"train.batch_sequences=4", "parallel.ring=" + std::to_string(ring)}, 10);
    if (losses.empty() || alone.empty()) continue;
    EXPECT_LE(largest_difference(losses, alone), 1e-10) << ranks << " ranks, rings of " << ring;
  }
}

TEST_F(TrainerTest, GivesTheSameBytesTwiceOnTheSameRanks) {
  for (int ranks : {1, 3, 8}) {
    test::with_ranks(ranks, [&](const Communicator& group) {
      const auto state = [&] {
        test::TrainingWorld training(group, folder_.path(), nowhere(), {"precision.compute=fp32"});
        training.losses(5);
        return training.state_bytes();
      };
      EXPECT_EQ(state() == state(), true) << ranks << " ranks";
    });
  }
}

TEST_F(TrainerTest, GoesOnAfterARestartAsIfThereHadBeenNone) {
  for (int ranks : {1, 4}) {
    test::with_ranks(ranks, [&](const Communicator& group) {
      const std::filesystem::path checkpoints = folder_.path() / ("resume-" + std::to_string(ranks));
      if (group.rank() == 0) std::filesystem::create_directories(checkpoints);
      group.barrier();
      const std::vector<std::string> six{"train.steps=6", "train.warmup_steps=0", "train.schedule=constant"};
      const std::vector<std::string> twelve{"train.steps=12", "train.warmup_steps=0", "train.schedule=constant"};
      test::TrainingWorld whole(group, folder_.path(), nowhere(), twelve);
      whole.losses(12);
      test::TrainingWorld(group, folder_.path(), checkpoints, six).trainer().run();
      test::TrainingWorld second(group, folder_.path(), checkpoints, twelve);
      EXPECT_EQ(second.trainer().state().progress.step, 6);
      second.losses(6);
      EXPECT_EQ(second.state_bytes() == whole.state_bytes(), true) << ranks << " ranks";
    });
  }
}

TEST_F(TrainerTest, LoadsOnAnyNumberOfRanksWhatAnyNumberSaved) {
  const std::vector<std::string> two{"train.steps=2", "train.warmup_steps=0"};
  for (int saved_on : kRankCounts) {
    const std::filesystem::path checkpoints = folder_.path() / ("elastic-" + std::to_string(saved_on));
    if (world_.rank() == 0) std::filesystem::create_directories(checkpoints);
    world_.barrier();
    std::string saved;
    test::with_ranks(saved_on, [&](const Communicator& group) {
      test::TrainingWorld first(group, folder_.path(), checkpoints, two);
      first.trainer().run();
      saved = first.state_bytes();
    });
    saved = world_.broadcast(saved);
    for (int loaded_on : kRankCounts) {
      test::with_ranks(loaded_on, [&](const Communicator& group) {
        test::TrainingWorld second(group, folder_.path(), checkpoints, two);
        EXPECT_EQ(second.state_bytes() == saved, true) << saved_on << " -> " << loaded_on;
        EXPECT_EQ(second.trainer().state().progress.loader_position, 2);
        EXPECT_EQ(second.trainer().state().progress.tokens_seen, 2 * 97);
      });
    }
  }
}

}  // namespace
}  // namespace rondo

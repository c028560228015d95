// SPDX-License-Identifier: Apache-2.0
// A few steps, an evaluation, a save and a restart on two ranks, small enough for the sanitizers; and how training stops.
#include <csignal>
#include <fstream>
#include <gtest/gtest.h>
#include <limits>
#include <sys/resource.h>

#include "io/checkpoint_record.hpp"
#include "io/run_folder.hpp"
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
    std::vector<MetricsRecord> records;
    training.trainer().on_metrics = [&](const MetricsRecord& record) { records.push_back(record); };
    EXPECT_EQ(training.trainer().run(), TrainOutcome::Finished);
    if (world_.rank() == 0) {
      ASSERT_EQ(records.size(), 3U) << "the first step, the last one and its evaluation";
      EXPECT_EQ(std::get<StepRecord>(records[1]).step, 3);
      EXPECT_EQ(std::get<ValidationRecord>(records[2]).step, 3);
    }
    EXPECT_EQ(training.trainer().final_evaluation_error(), "");
  }
  test::TrainingWorld again(world_, folder_.path(), checkpoints(), short_run_);
  EXPECT_EQ(again.trainer().state().progress.step, 3);
}

// The final evaluation may fail; the run is finished and saved even so.
TEST_F(SmallTrainerTest, CommitsTheLastCheckpointBeforeTheEvaluationAndOutlivesItsFailure) {
  {
    test::TrainingWorld training(world_, folder_.path(), checkpoints(), short_run_);
    bool is_saved_before = false;
    training.trainer().on_phase = [&](std::string_view phase, std::int64_t) {
      if (phase != "evaluation") return;
      is_saved_before = std::filesystem::exists(checkpoints() / "step-3" / kCommitFile);
      throw AgreedError(ErrorKind::Data, "the disk of the corpus is gone");
    };
    EXPECT_EQ(training.trainer().run(), TrainOutcome::Finished);
    EXPECT_TRUE(is_saved_before);
    EXPECT_NE(training.trainer().final_evaluation_error().find("the disk of the corpus is gone"), std::string::npos);
  }
  // The next start repeats it.
  test::TrainingWorld again(world_, folder_.path(), checkpoints(), short_run_);
  std::vector<MetricsRecord> records;
  again.trainer().on_metrics = [&](const MetricsRecord& record) { records.push_back(record); };
  again.trainer().evaluate_if_due();
  if (world_.rank() == 0) {
    ASSERT_EQ(records.size(), 1U);
    EXPECT_EQ(std::get<ValidationRecord>(records[0]).step, 3);
  }
  EXPECT_EQ(again.trainer().final_evaluation_error(), "");
}

TEST_F(SmallTrainerTest, EndsWithAnEvaluationThatFailsBeforeTheLastStep) {
  std::vector<std::string> changes = short_run_;
  changes.emplace_back("evaluate.every_steps=2");
  test::TrainingWorld training(world_, folder_.path(), checkpoints(), changes);
  training.trainer().on_phase = [&](std::string_view phase, std::int64_t) {
    if (phase == "evaluation") throw AgreedError(ErrorKind::Data, "the disk of the corpus is gone");
  };
  EXPECT_THROW(training.trainer().run(), AgreedError);
  EXPECT_EQ(training.trainer().progress().step, 2);
}

TEST_F(SmallTrainerTest, CommitsTheLastCheckpointWhenTheMetricsCannotBeWritten) {
  test::TrainingWorld training(world_, folder_.path(), checkpoints(), short_run_);
  training.trainer().on_metrics = [&](const MetricsRecord& record) {
    if (std::holds_alternative<StepRecord>(record) && step_of(record) == 3) throw DataError("the disk is full");
  };
  // Only rank 0 has the error and would abort all ranks. The save comes first, so the other ranks have completed it.
  training.trainer().on_phase = [&](std::string_view phase, std::int64_t) {
    if (phase == "evaluation") throw DataError("the other rank ended all");
  };
  EXPECT_THROW(training.trainer().run(), DataError);
  world_.barrier();
  EXPECT_TRUE(std::filesystem::exists(checkpoints() / "step-3" / kCommitFile));
}

TEST_F(SmallTrainerTest, RefusesToStartWithoutRoomForACheckpoint) {
  struct rlimit before {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const struct rlimit small { 100'000, before.rlim_max };
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  std::string said;
  try {
    test::TrainingWorld training(world_, folder_.path(), checkpoints(), short_run_);
  } catch (const AgreedError& error) {
    said = error.what();
  }
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_NE(said.find("100000 are free"), std::string::npos) << said;
  test::TrainingWorld training(world_, folder_.path(), checkpoints(), short_run_);
  EXPECT_TRUE(std::filesystem::is_empty(checkpoints())) << "a look at the folder leaves nothing";
}

TEST_F(SmallTrainerTest, WritesMetricsThatTheirReaderReads) {
  const RunFolder run(folder_.path() / "run");
  std::vector<std::string> changes = short_run_;
  changes.insert(changes.end(),
                 {"log.every_steps=1", "evaluate.every_steps=2", "model.attention=infini", "model.segment_tokens=8"});
  std::vector<MetricsRecord> written;
  test::TrainingWorld training(world_, folder_.path(), run.checkpoints(), changes);
  training.trainer().on_metrics = [&](const MetricsRecord& record) {
    written.push_back(record);
    run.append_metrics(record);
  };
  training.trainer().run();
  if (world_.rank() != 0) return;
  const std::vector<MetricsRecord> read = read_metrics(run.path() / "metrics.jsonl");
  ASSERT_EQ(read.size(), 5U) << "three steps, and evaluations after the second and the last one";
  EXPECT_TRUE(read == written);
  EXPECT_TRUE(std::get<ValidationRecord>(read[2]).memory.has_value());
  EXPECT_TRUE(run.has_validation(3));
  EXPECT_FALSE(run.has_validation(1));
}

TEST_F(SmallTrainerTest, TrainsWithoutValidationWhenNothingHeldOutCanBePredicted) {
  if (world_.rank() == 0) {
    std::ofstream(folder_.path() / "notes.jsonl") << [] {
      std::string lines;
      for (int i = 0; i < 30; ++i)
        lines += R"({"text": "a short remark of some fifty bytes, as in a log"})"
                 "\n";
      return lines;
    }();
    prepare_corpus({.inputs = {(folder_.path() / "notes.jsonl").string()},
                    .output = (folder_.path() / "corpus.h5").string(),
                    .validation = 0.02},
                   *make_tokenizer("bytes", 0), {});
  }
  world_.barrier();
  test::TrainingWorld training(world_, folder_.path(), checkpoints(), short_run_);
  EXPECT_NE(training.trainer().validation_problem().find("each document has one token"), std::string::npos)
      << training.trainer().validation_problem();
  EXPECT_EQ(training.trainer().run(), TrainOutcome::Finished);
  EXPECT_EQ(training.trainer().final_evaluation_error(), "");
  EXPECT_TRUE(std::filesystem::exists(checkpoints() / "step-3" / kCommitFile));
}

class InitialWeightsTest : public SmallTrainerTest {
 protected:
  std::vector<std::string> with(std::vector<std::string> changes) const {
    changes.insert(changes.end(), short_run_.begin(), short_run_.end());
    return changes;
  }
  std::filesystem::path other() const { return folder_.path() / "other"; }
  /// Trains a run to its end and returns its parameters, as bytes.
  std::string train_first() {
    test::TrainingWorld first(world_, folder_.path(), checkpoints(), short_run_);
    first.trainer().run();
    return first.parameter_bytes();
  }
  /// Expects the error of a start from the run at `from`.
  void expect_refused(const std::string& from, const std::vector<std::string>& changes, ErrorKind kind,
                      const std::string& words) {
    std::vector<std::string> all = with(changes);
    all.push_back("train.initialise_from=" + from);
    try {
      test::TrainingWorld second(world_, folder_.path(), other(), all);
      FAIL() << "must be refused: " << words;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), kind) << error.message();
      EXPECT_NE(error.message().find(words), std::string::npos) << error.message();
    }
  }
};

TEST_F(InitialWeightsTest, StartANewRunFromARunFolderOrOneStep) {
  const std::string trained = train_first();
  for (const char* given : {"", "checkpoints", "checkpoints/step-3"}) {
    const std::string from = "train.initialise_from=" + (folder_.path() / given).string();
    test::TrainingWorld second(world_, folder_.path(), other(), with({from, "model.window=9", "model.rope_theta=5e5"}));
    EXPECT_EQ(second.trainer().state().progress.step, 0) << given;
    EXPECT_EQ(second.parameter_bytes() == trained, true) << given;
  }
}

TEST_F(InitialWeightsTest, TurnAModelIntoOneWithAMemory) {
  train_first();
  const std::string from = "train.initialise_from=" + folder_.path().string();
  const auto first_loss = [&](const std::vector<std::string>& changes) {
    std::vector<std::string> all = with(changes);
    all.push_back(from);
    return test::TrainingWorld(world_, folder_.path(), other(), all).losses(1).front();
  };
  const double exact = first_loss({});
  const std::vector<std::string> all_in_sight{"model.attention=infini", "model.segment_tokens=8",
                                              "model.window_segments=100"};
  EXPECT_NEAR(first_loss(all_in_sight), exact, 1e-12);
  // With closed gates only local attention counts, whatever the memory contains.
  const auto shut = [&](const std::string& rule) {
    return first_loss({"model.attention=infini", "model.segment_tokens=8", "model.memory_gate=-60", rule});
  };
  EXPECT_NEAR(shut("model.memory_rule=delta"), shut("model.memory_rule=linear"), 1e-12);
  EXPECT_GT(std::abs(shut("model.memory_rule=linear") - exact), 1e-6) << "a window is not the whole";
}

TEST_F(InitialWeightsTest, StartTheGatesOfAnExactModelClosed) {
  train_first();
  test::TrainingWorld second(world_, folder_.path(), other(),
                             with({"train.initialise_from=" + folder_.path().string(), "model.attention=infini"}));
  for (const Parameter& parameter : second.trainer().parameters().parameters()) {
    if (!parameter.is_gate) continue;
    EXPECT_EQ(*parameter.value.as<double>(), -6) << parameter.name;
  }
}

// A stored state of a text belongs to one model: equal weights with other settings are another model.
TEST_F(InitialWeightsTest, AreOneModelOnlyWithTheSettings) {
  const std::string trained = train_first();
  const auto digest_of_copy = [&](const std::string& setting) {
    const std::filesystem::path copy = folder_.path() / ("copy-" + setting);
    test::TrainingWorld training(world_, folder_.path(), copy,
                                 with({"train.initialise_from=" + folder_.path().string(), setting,
                                       "train.learning_rate=1e-300", "train.weight_decay=0"}));
    training.trainer().run();
    EXPECT_EQ(training.parameter_bytes() == trained, true);
    return read_model_info(find_checkpoint(world_, copy)).model_digest;
  };
  const std::string digest = read_model_info(find_checkpoint(world_, folder_.path())).model_digest;
  EXPECT_EQ(digest_of_copy("model.rope_theta=1e4"), digest);
  EXPECT_NE(digest_of_copy("model.rope_theta=5e5"), digest);
}

// AdamW's first step changes every value that has a gradient by its learning rate, and then by the decay.
TEST_F(SmallTrainerTest, MovesGatesByALearningRateOfTheirOwnAndDoesNotDecayThem) {
  constexpr double kGate = 3, kRate = 1e-3, kGateRate = 5e-2, kDecay = 0.5;
  std::vector<std::string> changes = short_run_;
  changes.insert(changes.end(),
                 {"model.attention=infini", "model.segment_tokens=4", "model.memory_gate=3", "train.learning_rate=1e-3",
                  "train.gate_learning_rate=5e-2", "train.weight_decay=0.5", "train.schedule=constant"});
  test::TrainingWorld training(world_, folder_.path(), checkpoints(), changes);
  const auto values = [&] {
    std::vector<std::vector<double>> all;
    for (const Parameter& parameter : training.trainer().parameters().parameters()) {
      const std::span<const double> span = parameter.value.span<double>();
      all.emplace_back(span.begin(), span.end());
    }
    return all;
  };
  const std::vector<std::vector<double>> before = values();
  training.trainer().step();
  const std::vector<std::vector<double>> after = values();
  int num_gates = 0;
  for (std::size_t p = 0; p < before.size(); ++p) {
    const Parameter& parameter = training.trainer().parameters().parameters()[p];
    if (!parameter.is_gate && !parameter.decays) continue;
    for (std::size_t i = 0; i < before[p].size(); ++i) {
      const double moved = after[p][i] - before[p][i];
      if (parameter.is_gate) {
        ++num_gates;
        EXPECT_EQ(before[p][i], kGate);
        EXPECT_NEAR(std::abs(moved), kGateRate, 1e-3 * kGateRate) << parameter.name;
      } else {
        EXPECT_LE(std::abs(moved + kRate * kDecay * before[p][i]), kRate * (1 + 1e-9)) << parameter.name;
      }
    }
  }
  EXPECT_EQ(num_gates, 8) << "two layers of four heads";
  EXPECT_EQ(TrainConfig{}.gate_learning_rate, 0.01);
  EXPECT_EQ(ModelConfig{}.memory_gate, 0);
}

TEST_F(InitialWeightsTest, AreRefusedWhenTheModelIsAnother) {
  train_first();
  const std::string from = folder_.path().string();
  expect_refused(from, {"model.heads=2", "model.head_dim=12"}, ErrorKind::Config, "model.heads: 4 there, 2 here");
  expect_refused(from, {"model.d_ff=48"}, ErrorKind::Config, "model.d_ff: 40 there, 48 here");
  expect_refused(from, {"model.tie_embeddings=true"}, ErrorKind::Config,
                 "model.tie_embeddings: false there, true here");
  expect_refused((folder_.path() / "nothing").string(), {}, ErrorKind::Checkpoint, "there is no such folder");
  expect_refused(other().string(), {}, ErrorKind::Checkpoint, "there is no");
}

TEST_F(SmallTrainerTest, StopsAllRanksAfterTheStepWhenOneIsSignalled) {
  test::TrainingWorld training(world_, folder_.path(), checkpoints(), {"train.steps=1000000"});
  if (world_.rank() == world_.size() - 1) std::raise(SIGUSR1);
  EXPECT_EQ(training.trainer().run(), TrainOutcome::Stopped);
  EXPECT_EQ(training.trainer().state().progress.step, 1);
  EXPECT_TRUE(std::filesystem::exists(checkpoints() / "step-1" / kCommitFile));
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

// One document of 33 tokens per sequence; only one document has the byte whose embedding is not finite.
TEST_F(SmallTrainerTest, NamesTheDocumentsOfTheMicroBatchThatIsNotFinite) {
  constexpr int kDocuments = 6;
  for (int bad = 0; bad < kDocuments; ++bad) {
    if (world_.rank() == 0) {
      std::vector<std::string> inputs;
      for (int i = 0; i < kDocuments; ++i) {
        inputs.push_back((folder_.path() / ("document-" + std::to_string(i) + ".txt")).string());
        std::ofstream(inputs.back()) << std::string(16, 'a') << (i == bad ? 'z' : 'b') << std::string(16, 'a');
      }
      prepare_corpus({.inputs = inputs, .output = (folder_.path() / "corpus.h5").string(), .validation = 0},
                     *make_tokenizer("bytes", 0), {});
    }
    world_.barrier();
    std::vector<std::string> changes = short_run_;
    changes.insert(changes.end(), {"train.batch_sequences=6", "data.whole_documents=true"});
    test::TrainingWorld training(world_, folder_.path(), checkpoints(), changes);
    for (Parameter& parameter : training.trainer().parameters().parameters()) {
      if (parameter.name != "embedding") continue;
      parameter.value.as<double>()['z' * parameter.value.shape.row_count()] = std::numeric_limits<double>::quiet_NaN();
    }
    try {
      training.trainer().step();
      FAIL() << "the step must not be made";
    } catch (const AgreedError& error) {
      for (int i = 0; i < kDocuments; ++i) {
        const bool is_named = error.message().find("document-" + std::to_string(i)) != std::string::npos;
        EXPECT_EQ(is_named, i == bad) << error.message();
      }
    }
  }
}

}  // namespace
}  // namespace rondo

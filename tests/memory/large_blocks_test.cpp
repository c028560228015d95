// SPDX-License-Identifier: Apache-2.0
// A training run allocates its memory in the first two steps: afterwards no library of the process allocates a large block,
// although documents, and with them every mask and schedule, differ in each step.
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <ostream>
#include <string_view>

#include "config/load.hpp"
#include "config/resolve.hpp"
#include "io/run_folder.hpp"
#include "tests/memory/allocation_counter.hpp"
#include "tests/train/training_world.hpp"

namespace rondo {
namespace {

constexpr std::int64_t kTokensPerRank = 16384;  // one int32 per token is a large block
constexpr std::int64_t kSteps = 6;

// JSON lines: groups of documents of a few bytes and groups of longer ones, so that one sequence holds a few dozen documents
// and another thousands; the offsets alone are then a large block.
void write_documents(const std::filesystem::path& file, std::int64_t num_bytes) {
  const CounterRandom random(7, stream_of("documents"));
  std::ofstream out(file);
  std::uint64_t drawn = 0;
  constexpr std::array<std::uint64_t, 4> kLongest{4, 2000, 6, 300};
  for (std::int64_t written = 0; written < num_bytes;) {
    const auto stretch = static_cast<std::size_t>(written / (2 * kTokensPerRank)) % kLongest.size();
    const std::uint64_t length = 1 + random.bits(drawn++) % kLongest[stretch];
    std::string text;
    for (std::uint64_t i = 0; i < length; ++i) text += static_cast<char>('a' + random.bits(drawn++) % 26);
    out << "{\"text\": \"" << text << "\"}\n";
    written += static_cast<std::int64_t>(length);
  }
}

struct Case {
  std::string name;
  std::vector<std::string> changes;
};

void PrintTo(const Case& which, std::ostream* out) { *out << which.name; }

class LargeBlocks : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (world_.rank() == 0) {
      write_documents(folder_.path() / "documents.jsonl", 48 * kTokensPerRank);
      prepare_corpus({.inputs = {(folder_.path() / "documents.jsonl").string()},
                      .output = (folder_.path() / "corpus.h5").string(),
                      .validation = 0.1},
                     *make_tokenizer("bytes", 0), {});
      std::filesystem::create_directories(folder_.path() / "run");
    }
    world_.barrier();
  }

  RunConfig config(const std::vector<std::string>& changes) const {
    const std::int64_t tokens = kTokensPerRank * world_.size();
    const std::string text =
        "[model]\nlayers = 2\nd_model = 32\nheads = 2\nkv_heads = 1\nhead_dim = 16\nd_ff = 48\n"
        "[data]\ncorpus = \"" +
        (folder_.path() / "corpus.h5").string() + "\"\nsequence_length = " + std::to_string(tokens) +
        "\n[train]\nsteps = " + std::to_string(kSteps) +
        "\nlearning_rate = 1e-3\nwarmup_steps = 2\n[parallel]\ndevice = \"cpu\"\nthreads = 1\n[evaluate]\nsequences = "
        "0\n"
        "[checkpoint]\nevery_minutes = 0\n[log]\nevery_steps = 1\n";
    return resolve(load_config_text(text, "large blocks", changes, world_.size()),
                   {.world_size = world_.size(), .vocabulary_size = 256});
  }

  // Trains as `rondo train` does; `in_step` is called on every rank after each step.
  void train(const RunConfig& config, const std::function<void(std::int64_t step)>& in_step) {
    const TokenCorpus corpus(config.data.corpus);
    StopSignal stop(world_);
    Runtime runtime(
        world_, {.device = config.parallel.device, .ring = config.parallel.ring, .threads = config.parallel.threads});
    runtime.add_progress([&stop] { stop.poll(); });
    const RunFolder folder(folder_.path() / "run");
    Trainer trainer(runtime, config, corpus, stop, folder_.path() / "checkpoints");
    trainer.restore_or_initialise();
    trainer.on_metrics = [&](const MetricsRecord& metrics) { folder.append_metrics(metrics); };
    trainer.on_step = [&](const StepReport& report) { folder.write_heartbeat(report.step); };
    std::int64_t last = 0;
    trainer.on_phase = [&](std::string_view phase, std::int64_t step) {
      if (phase == "training" && step != last) in_step(last = step);  // also called after an evaluation or save
    };
    trainer.run();
  }

  Communicator world_ = test::world();
  test::SharedFolder folder_{world_};
};

TEST_P(LargeBlocks, AreNotTakenAfterStepTwo) {
  const RunConfig run = config(GetParam().changes);
  std::uint64_t blocks = 0;
  std::string report;
  train(run, [&](std::int64_t step) {
    if (step == 2) test::count_large_blocks();
    if (step == run.train.steps) {  // the checkpoint follows
      blocks = test::num_large_blocks();
      report = test::large_blocks_report();
    }
  });
  EXPECT_EQ(blocks, 0U) << report;
}

// The first evaluation comes late: its memory must be allocated before.
INSTANTIATE_TEST_SUITE_P(Cpu, LargeBlocks,
                         testing::Values(Case{"fp32", {"precision.compute=fp32", "evaluate.every_steps=4"}},
                                         Case{"bf16", {"precision.compute=bf16", "evaluate.every_steps=4"}}),
                         [](const auto& which) { return which.param.name; });

using LargeBlocksSeen = LargeBlocks;

TEST_P(LargeBlocksSeen, WhenAStepTakesOne) {
  std::uint64_t blocks = 0;
  train(config({"data.sequence_length=256", "train.steps=4"}), [&](std::int64_t step) {
    if (step == 2) test::count_large_blocks();
    if (step == 3) std::vector<std::int64_t>(kTokensPerRank).at(0) = step;
    if (step == 4) blocks = test::num_large_blocks();
  });
  EXPECT_GE(blocks, 1U);
}

INSTANTIATE_TEST_SUITE_P(Cpu, LargeBlocksSeen, testing::Values(Case{"fp32", {}}),
                         [](const auto& which) { return which.param.name; });

}  // namespace
}  // namespace rondo

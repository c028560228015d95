// SPDX-License-Identifier: Apache-2.0
// A dry run counts what training needs: the peaks of a rank's memory, as a run's ledger reports them, and the bytes sent.
#include "plan/dry_run.hpp"

#include <gtest/gtest.h>

#include "tests/train/training_world.hpp"
#include "train/peak_memory.hpp"

namespace rondo {
namespace {

const std::vector<int> kRings{1, 2, 3, 4, 8};

struct Case {
  const char* name;
  std::vector<std::string> changes;
};

// Wide heads, many layers and few tokens, so that the states of a memory are a large part of the total.
std::vector<Case> cases() {
  const auto with = [](std::vector<std::string> list, const std::vector<std::string>& more) {
    list.insert(list.end(), more.begin(), more.end());
    return list;
  };
  const std::vector<std::string> infini{"model.attention=infini", "model.segment_tokens=32", "model.heads=4",
                                        "model.kv_heads=4", "model.head_dim=32"};
  const std::vector<std::string> linear = with(infini, {"model.memory_rule=linear", "model.window_segments=1"});
  const std::vector<std::string> delta = with(infini, {"model.memory_rule=delta"});
  const std::vector<std::string> corrected = with(infini, {"model.memory_rule=delta_corrected"});
  const std::vector<std::string> spans{"memory.span_tokens=256", "memory.span_states_mib=1"};
  return {{"exact", {}},
          {"exact, striped", {"parallel.layout=striped", "model.tie_embeddings=true"}},
          {"exact with a window", {"model.window=100"}},
          {"infini, linear", linear},
          {"infini, delta", delta},
          {"infini, corrected", corrected},
          {"infini and exact", with(delta, {"model.attention=[\"infini\",\"exact\"]"})},
          {"spans, linear", with(linear, spans)},
          {"spans, delta", with(delta, spans)},
          {"spans, corrected", with(corrected, spans)}};
}

/// estimated = measured within 3 %.
void expect_close(double estimated, double measured, const std::string& what) {
  EXPECT_NEAR(estimated, measured, 0.03 * measured) << what;
}

void expect_as_measured(const RankCost& cost, const PeakMemory& measured) {
  const auto real = [](std::int64_t bytes) { return static_cast<double>(bytes); };
  expect_close(real(cost.peak_total_bytes), real(measured.total_bytes), "in all");
  for (std::size_t use = 0; use < kNumMemoryUses; ++use) {
    if (10 * measured.bytes[use] < measured.total_bytes) continue;
    expect_close(real(cost.peak_bytes[use]), real(measured.bytes[use]),
                 std::string(name_of(static_cast<MemoryUse>(use))));
  }
}

class DryRun : public testing::Test {
 protected:
  void SetUp() override {
    if (world_.rank() == 0) test::make_corpus(folder_.path());
    world_.barrier();
  }

  std::vector<std::string> changes_of(const Case& c, const std::string& precision) const {
    std::vector<std::string> changes{"parallel.device=cpu", "precision.compute=" + precision,
                                     "data.sequence_length=1031", "data.isolate_documents=false"};
    changes.insert(changes.end(), c.changes.begin(), c.changes.end());
    return changes;
  }

  void compare(int ranks, const std::vector<std::string>& changes) {
    test::with_ranks(ranks, [&](const Communicator& group) {
      test::TrainingWorld training(group, folder_.path(), folder_.path() / "nowhere", changes);
      Runtime& runtime = training.runtime();
      const auto sent = [&] {
        return static_cast<double>(runtime.execution().ring.transport.sent_bytes() +
                                   runtime.world_transport().sent_bytes());
      };
      training.losses(1);
      const double sent_before = sent();
      training.losses(1);
      const TokenCorpus corpus(training.config().data.corpus);
      const RankCost cost =
          dry_run(training.config(), {.world_size = group.size(),
                                      .rank = group.rank(),
                                      .evaluation_tokens = std::min(training.config().data.sequence_length,
                                                                    corpus.num_tokens(Split::Validation))});
      expect_as_measured(cost, peak_memory_of(runtime.execution().device.memory()));
      EXPECT_EQ(cost.sent_bytes, sent() - sent_before);
    });
  }

  Communicator world_ = test::world();
  test::SharedFolder folder_{world_};
};

TEST_F(DryRun, TakesTheMemoryOfARankAndSendsItsBytesInFp32) {
  for (const Case& c : cases()) {
    for (const int ranks : kRings) {
      SCOPED_TRACE(testing::Message() << c.name << " on " << ranks << " ranks");
      compare(ranks, changes_of(c, "fp32"));
    }
  }
}

TEST_F(DryRun, TakesTheMemoryOfARankAndSendsItsBytesInBf16) {
  for (const Case& c : cases()) {
    for (const int ranks : {2, 8}) {
      SCOPED_TRACE(testing::Message() << c.name << " on " << ranks << " ranks");
      compare(ranks, changes_of(c, "bf16"));
    }
  }
}

TEST_F(DryRun, CountsSeveralRingsAndSeveralSequencesOfAStep) {
  const Case two_rings{"", {"parallel.ring=2", "train.batch_sequences=4"}};
  compare(4, changes_of(two_rings, "fp32"));
  const Case three_sequences{"", {"train.batch_sequences=3"}};
  compare(3, changes_of(three_sequences, "fp32"));
}

}  // namespace
}  // namespace rondo

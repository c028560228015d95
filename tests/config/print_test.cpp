// SPDX-License-Identifier: Apache-2.0
#include "config/print.hpp"

#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>

#include "config/resolve.hpp"
#include "tests/config/sample.hpp"

namespace rondo::test {

using ::testing::IsEmpty;

// Every key away from its default, so that a key that is not printed or not read shows.
const std::vector<std::string> kEverythingElse{"model.layers=3",
                                               "model.d_model=96",
                                               "model.heads=6",
                                               "model.kv_heads=3",
                                               "model.head_dim=8",
                                               "model.d_ff=72",
                                               "model.rope_theta=5e5",
                                               "model.rope_scaling=llama3",
                                               "model.rope_scaling_factor=8.5",
                                               "model.rope_low_frequency_factor=1.25",
                                               "model.rope_high_frequency_factor=4.5",
                                               "model.rope_original_tokens=4096",
                                               "model.norm_epsilon=1e-6",
                                               "model.tie_embeddings=true",
                                               "model.vocabulary_size=300",
                                               "model.attention=[\"exact\", \"exact\"]",
                                               "model.window=64",
                                               "model.segment_tokens=128",
                                               "model.window_segments=3",
                                               "model.memory_rule=delta_corrected",
                                               "model.memory_gate=-1.5",
                                               "data.corpus=b\"c\\d.h5",
                                               "data.sequence_length=300",
                                               "data.isolate_documents=false",
                                               "data.whole_documents=true",
                                               "train.steps=11",
                                               "train.batch_sequences=2",
                                               "train.seed=9223372036854775807",
                                               "train.learning_rate=3.3e-4",
                                               "train.gate_learning_rate=0.02",
                                               "train.minimum_learning_rate_fraction=0.01",
                                               "train.warmup_steps=3",
                                               "train.schedule=linear",
                                               "train.beta_1=0.8",
                                               "train.beta_2=0.9",
                                               "train.epsilon=1e-7",
                                               "train.weight_decay=0.01",
                                               "train.clip_norm=0.5",
                                               "train.deterministic=false",
                                               "train.initialise_from=runs/a",
                                               "train.time_limit=23h40m",
                                               "train.stall_timeout=1.5s",
                                               "parallel.ring=2",
                                               "parallel.layout=striped",
                                               "parallel.device=cpu",
                                               "parallel.transport=mpi",
                                               "parallel.nccl_max_ctas=4",
                                               "parallel.threads=3",
                                               "parallel.attention_kernel=fused",
                                               "parallel.self_check=true",
                                               "memory.ffn_chunk_tokens=100",
                                               "memory.head_chunk_tokens=200",
                                               "memory.span_states_mib=10",
                                               "precision.compute=bf16",
                                               "checkpoint.every_steps=5",
                                               "checkpoint.every_minutes=7",
                                               "checkpoint.keep=4",
                                               "evaluate.every_steps=6",
                                               "evaluate.sequences=0",
                                               "log.every_steps=1",
                                               "log.trace_steps=2"};

// What does not go with everything else.
const std::vector<std::string> kSpans{"model.attention=infini", "model.segment_tokens=128", "memory.span_tokens=256"};

TEST(PrintConfig, ReadsBackAsTheSameConfiguration) {
  for (const RunConfig& config :
       {sample(), sample(kEverythingElse), sample(kSpans), resolve(sample(), {.world_size = 4})}) {
    EXPECT_EQ(load_config_text(to_toml(config), "printed.toml"), config) << to_toml(config);
  }
}

TEST(PrintConfig, CoversEveryKeyThatHasAChoice) {
  std::set<std::string> overridden{"parallel.shard", "memory.span_tokens"};  // one has one word, the other is in kSpans
  for (const std::string& argument : kEverythingElse) overridden.insert(argument.substr(0, argument.find('=')));
  for (const Field& field : all_fields()) EXPECT_TRUE(overridden.contains(field.name())) << field.name();
  EXPECT_EQ(differences(RunConfig{}, sample(kEverythingElse)).size(), all_fields().size() - 2);
}

TEST(PrintConfig, WritesJson) {
  const auto json = nlohmann::json::parse(to_json(sample(kEverythingElse)));
  EXPECT_EQ(json["model"]["layers"], 3);
  EXPECT_EQ(json["data"]["corpus"], "b\"c\\d.h5");
  EXPECT_EQ(json["train"]["learning_rate"], 3.3e-4);
  EXPECT_EQ(json["model"]["attention"], (nlohmann::json{"exact", "exact"}));
  EXPECT_EQ(json["parallel"]["self_check"], true);
  EXPECT_EQ(json["train"]["seed"], 9223372036854775807);
}

TEST(AgreementDigest, DependsOnEveryValue) {
  std::set<std::string> digests{agreement_digest(sample())};
  for (const std::string argument :
       {"train.seed=2", "train.learning_rate=0.0010000000000000002", "data.corpus=a.h6", "parallel.self_check=true"}) {
    digests.insert(agreement_digest(sample({argument})));
  }
  EXPECT_EQ(digests.size(), 5U);
  EXPECT_EQ(agreement_digest(sample()), agreement_digest(sample()));
  EXPECT_EQ(agreement_digest(sample()).size(), 16U);
}

TEST(Differences, SayWhatMayChangeWhenARunIsContinued) {
  const auto change_of = [](const std::string& argument) {
    const auto found = differences(sample(), sample({argument}));
    EXPECT_EQ(found.size(), 1U) << argument;
    return found.at(0).change;
  };
  for (const char* free : {"train.steps=20", "parallel.ring=2", "parallel.layout=striped", "memory.ffn_chunk_tokens=7",
                           "checkpoint.keep=1", "log.every_steps=1", "evaluate.every_steps=1", "train.time_limit=1h",
                           "train.deterministic=false"}) {
    EXPECT_EQ(change_of(free), Change::Free) << free;
  }
  for (const char* asked : {"train.learning_rate=1", "train.schedule=linear", "train.batch_sequences=2",
                            "train.warmup_steps=1", "train.beta_1=0.5", "precision.compute=fp32"}) {
    EXPECT_EQ(change_of(asked), Change::OnRequest) << asked;
  }
  for (const char* never : {"model.layers=3", "model.window=4", "train.seed=2", "data.sequence_length=100"}) {
    EXPECT_EQ(change_of(never), Change::Never) << never;
  }
  EXPECT_EQ(to_string(differences(sample(), sample({"train.seed=2"})).at(0)),
            "train.seed: 1 -> 2 (cannot change in a continued run)");
  EXPECT_THAT(differences(sample(), sample()), IsEmpty());
}

TEST(ReferencePage, IsTheCommittedOne) {
  std::ifstream file(RONDO_SOURCE_DIR "/docs/reference/configuration.md");
  const std::string committed{std::istreambuf_iterator<char>(file), {}};
  EXPECT_TRUE(committed == reference_page()) << "run: rondo config-reference > docs/reference/configuration.md";
}

}  // namespace rondo::test

// SPDX-License-Identifier: Apache-2.0
// Every record comes back from its JSON as it went in; older ones are read, newer ones are refused in words.
#include <cmath>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <limits>
#include <nlohmann/json.hpp>

#include "io/checkpoint_metadata.hpp"
#include "io/metrics_record.hpp"
#include "io/run_records.hpp"
#include "tests/io/checkpoint_support.hpp"

namespace rondo::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

StepRecord step_record() {
  StepRecord r{.step = 7,
               .loss = 2.5,
               .gradient_norm = 0.1,
               .learning_rate = 3e-4,
               .tokens_seen = 1'000'000'000'000,
               .step_ms = 12.5,
               .tokens_per_second = 1.0 / 3,
               .model_flops_per_second = 1e15,
               .exposed_communication_ms = 0.25,
               .peak_total_bytes = 99,
               .peak_resident_bytes = 1 << 20};
  for (std::size_t i = 0; i < kNumMemoryUses; ++i) r.peak_bytes[i] = static_cast<std::int64_t>(10 * i);
  return r;
}

ValidationRecord validation_record() {
  return {.step = 9,
          .loss = 1.25,
          .num_targets = 4321,
          .memory = MemoryStatistics{
              .gate_histogram = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, .norms = {0.5, 0}, .smallest_normaliser = 1e-3}};
}

/// What reading complains about; "read" when it does not.
template <typename Read> std::string complaint(const Read& read) {
  try {
    read();
  } catch (const Error& error) {
    return error.what();
  }
  return "read";
}

/// The text with another version in it.
std::string with_version(const std::string& text, int version) {
  auto json = nlohmann::ordered_json::parse(text);
  EXPECT_EQ(json.at("version"), 1);
  json["version"] = version;
  return json.dump();
}

std::string without_version(const std::string& text) {
  auto json = nlohmann::ordered_json::parse(text);
  json.erase("format");
  json.erase("version");
  return json.dump();
}

TEST(MetricsRecords, ComeBackAsTheyWentIn) {
  ValidationRecord no_read = validation_record(), no_memory = validation_record();
  no_read.memory->smallest_normaliser.reset();
  no_memory.memory.reset();
  for (const MetricsRecord& record : {MetricsRecord(step_record()), MetricsRecord(validation_record()),
                                      MetricsRecord(no_read), MetricsRecord(no_memory)}) {
    const std::string line = to_json(record);
    EXPECT_EQ(line.find('\n'), std::string::npos);
    EXPECT_TRUE(metrics_from_json(line, "") == record) << line;
    EXPECT_TRUE(metrics_from_json(without_version(line), "") == record) << "a line of before there were versions";
    EXPECT_EQ(step_of_line(line, ""), step_of(record));
    EXPECT_EQ(is_validation_line(line), std::holds_alternative<ValidationRecord>(record));
  }
}

TEST(MetricsRecords, WriteFiguresThatAreNotFiniteAsNull) {
  StepRecord step = step_record();
  step.tokens_per_second = kInfinity;
  const std::string line = to_json(step);
  EXPECT_THAT(line, HasSubstr("\"tokens_per_second\":null"));
  EXPECT_TRUE(std::isnan(std::get<StepRecord>(metrics_from_json(line, "")).tokens_per_second));
  ValidationRecord validation = validation_record();
  validation.loss = std::numeric_limits<double>::quiet_NaN();
  validation.memory->norms[1] = kInfinity;
  const auto read = std::get<ValidationRecord>(metrics_from_json(to_json(validation), ""));
  EXPECT_TRUE(std::isnan(read.loss));
  EXPECT_TRUE(std::isnan(read.memory->norms[1]));
  EXPECT_EQ(read.memory->norms[0], 0.5);
}

// As a program of before there were versions wrote it.
TEST(MetricsRecords, ReadAnOldLine) {
  const std::string old =
      R"({"step":5,"loss":5.5,"grad_norm":1.5,"learning_rate":0.001,"tokens_seen":480,"step_ms":2.0,"tokens_per_second":48000.0,)"
      R"("model_flops_per_second":1e9,"exposed_communication_ms":0.5,"peak_bytes":{"parameters":64,"a use of the past":3},)"
      R"("peak_total_bytes":64,"peak_resident_bytes":128})";
  const auto record = std::get<StepRecord>(metrics_from_json(old, ""));
  EXPECT_EQ(record.loss, 5.5);
  EXPECT_EQ(record.peak_bytes[static_cast<std::size_t>(MemoryUse::Parameters)], 64);
}

TEST(MetricsRecords, ReadAFileUpToALineThatWasCutShort) {
  const TemporaryFolder folder;
  const auto file = folder.path() / "metrics.jsonl";
  EXPECT_TRUE(read_metrics(file).empty()) << "there is none";
  std::ofstream(file) << to_json(step_record()) << "\n"
                      << to_json(validation_record()) << "\n"
                      << R"({"step": 9, "lo)";
  const std::vector<MetricsRecord> records = read_metrics(file);
  ASSERT_EQ(records.size(), 2U);
  EXPECT_TRUE(records[0] == MetricsRecord(step_record()));
  EXPECT_TRUE(records[1] == MetricsRecord(validation_record()));
  std::ofstream(file, std::ios::app) << "\n";
  EXPECT_THAT(complaint([&] { read_metrics(file); }), HasSubstr("metrics.jsonl:3: this is not a record"));
}

ExitRecord exit_record() {
  return {.cause = "data",
          .exit_code = 3,
          .rank = 2,
          .host = "n1",
          .step = 17,
          .phase = "save",
          .message = "the disk \"is\" full",
          .advice = "make room",
          .retry = true,
          .time_unix_s = 1'800'000'000};
}

TEST(RunRecords, ComeBackAsTheyWentIn) {
  const ExitRecord exit = exit_record();
  for (const std::string& text : {exit.to_json(), without_version(exit.to_json())}) {
    const ExitRecord read = ExitRecord::from_json(text, "");
    EXPECT_EQ(read.cause, exit.cause);
    EXPECT_EQ(read.exit_code, exit.exit_code);
    EXPECT_EQ(read.rank, exit.rank);
    EXPECT_EQ(read.host, exit.host);
    EXPECT_EQ(read.step, exit.step);
    EXPECT_EQ(read.phase, exit.phase);
    EXPECT_EQ(read.message, exit.message);
    EXPECT_EQ(read.advice, exit.advice);
    EXPECT_EQ(read.retry, exit.retry);
    EXPECT_EQ(read.time_unix_s, exit.time_unix_s);
  }
  const StartRecord start{
      .machine = "cpu", .gpus = {"n1: rank 0"}, .attention = {"by cpu", "by fused"}, .time_unix_s = 1'800'000'000};
  for (const std::string& text : {start.to_json(), without_version(start.to_json())}) {
    const StartRecord read = StartRecord::from_json(text, "");
    EXPECT_EQ(read.machine, start.machine);
    EXPECT_EQ(read.gpus, start.gpus);
    EXPECT_EQ(read.attention, start.attention);
    EXPECT_EQ(read.time_unix_s, start.time_unix_s);
  }
  const HeartbeatRecord heartbeat{.step = 4, .process = 123, .time_unix_s = 1'800'000'000};
  const HeartbeatRecord read = HeartbeatRecord::from_json(heartbeat.to_json(), "");
  EXPECT_EQ(read.step, heartbeat.step);
  EXPECT_EQ(read.process, heartbeat.process);
  EXPECT_EQ(read.time_unix_s, heartbeat.time_unix_s);
}

TEST(RunRecords, KeepMessagesThatAreNoUtf8) {
  ExitRecord exit = exit_record();
  exit.message = "the path \xff";
  EXPECT_THAT(ExitRecord::from_json(exit.to_json(), "").message, HasSubstr("the path "));
}

CheckpointMetadata metadata() {
  return {.config_toml = "[train]\nsteps = 3\n",
          .step = 3,
          .tokens_seen = 1000,
          .loader_position = 12,
          .seed = 5,
          .tokenizer_json = "{\"kind\": \"bytes\"}",
          .tokenizer_digest = "aa",
          .corpus_digest = "bb"};
}

TEST(CheckpointMetadata, ComesBackAsItWentIn) {
  // Before there were versions it also named a stage, which was always 0.
  auto with_stage = nlohmann::ordered_json::parse(without_version(metadata().to_json()));
  with_stage["stage"] = 0;
  for (const std::string& text : {metadata().to_json(), with_stage.dump()}) {
    const auto read = CheckpointMetadata::from_json(text, "");
    EXPECT_EQ(read.config_toml, metadata().config_toml);
    EXPECT_EQ(read.step, 3);
    EXPECT_EQ(read.tokens_seen, 1000);
    EXPECT_EQ(read.loader_position, 12);
    EXPECT_EQ(read.seed, 5);
    EXPECT_EQ(read.tokenizer_json, metadata().tokenizer_json);
    EXPECT_EQ(read.tokenizer_digest, "aa");
    EXPECT_EQ(read.corpus_digest, "bb");
  }
}

TEST(Records, RefuseNewerVersionsOtherFormatsAndDamage) {
  struct Format {
    std::string text;
    std::function<void(const std::string&)> read;
  };
  const std::string here = "run/file";
  const std::vector<Format> formats{
      {to_json(MetricsRecord(step_record())), [&](const std::string& text) { metrics_from_json(text, here); }},
      {to_json(MetricsRecord(step_record())), [&](const std::string& text) { step_of_line(text, here); }},
      {exit_record().to_json(), [&](const std::string& text) { ExitRecord::from_json(text, here); }},
      {StartRecord{}.to_json(), [&](const std::string& text) { StartRecord::from_json(text, here); }},
      {HeartbeatRecord{}.to_json(), [&](const std::string& text) { HeartbeatRecord::from_json(text, here); }},
      {metadata().to_json(), [&](const std::string& text) { CheckpointMetadata::from_json(text, here); }}};
  for (const auto& [text, read] : formats) {
    const auto said = [&, read = read](const std::string& changed) { return complaint([&] { read(changed); }); };
    EXPECT_EQ(said(text), "read");
    EXPECT_THAT(said(with_version(text, 2)), AllOf(HasSubstr("run/file: the record has version 2"),
                                                   HasSubstr("this program reads up to 1"), HasSubstr("newer")));
    auto other = nlohmann::ordered_json::parse(text);
    other["format"] = "rondo-something";
    EXPECT_THAT(said(other.dump()), HasSubstr("but of rondo-something"));
  }
  for (const auto& [text, read] : formats) {
    if (&text == &formats[1].text) continue;  // a line of metrics that was cut short has no step
    EXPECT_THAT(complaint([&, read = read] { read("{\"cut"); }),
                HasSubstr("run/file: this is not a record of format rondo-"));
    EXPECT_THAT(complaint([&, read = read] { read("[]"); }), HasSubstr("run/file: this is not a record"));
    EXPECT_THAT(complaint([&, read = read] { read("{}"); }), HasSubstr("run/file: this is not a record"));
  }
}

}  // namespace
}  // namespace rondo::test

// SPDX-License-Identifier: Apache-2.0
// `rondo check` and the program's own options, as a user runs them.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

#include "config/load.hpp"

namespace rondo::test {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

class CheckProgram : public ::testing::Test {
 protected:
  CheckProgram() { std::filesystem::create_directories(folder_); }
  ~CheckProgram() override { std::filesystem::remove_all(folder_); }

  std::string read(const std::string& name) const {
    std::ifstream file(folder_ / name);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  /// Exit code; what was printed is in output() and error().
  int run(const std::string& arguments) const {
    const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe");
    const std::string program = self.parent_path().parent_path() / "bin" / "rondo";
    const std::string command = "cd '" + folder_.string() + "' && '" + program + "' " + arguments + " >out 2>err";
    const int status = std::system(command.c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  std::string output() const { return read("out"); }
  std::string error() const { return read("err"); }

  const std::filesystem::path folder_ =
      std::filesystem::temp_directory_path() / ("rondo_check_" + std::to_string(getpid()));
  const std::string tiny_ = std::string(RONDO_SOURCE_DIR) + "/configs/tiny.toml";
};

TEST_F(CheckProgram, PrintsTheResolvedConfigurationAsAConfiguration) {
  ASSERT_EQ(run("check " + tiny_ + " --ranks 4 --device cpu --set model.vocabulary_size=256"), 0) << error();
  EXPECT_THAT(output(), HasSubstr("# ranks               4 = data 1 x ring 4\n"));
  EXPECT_THAT(error(), HasSubstr("there is no corpus corpus.h5 yet"));
  const RunConfig config = load_config_text(output(), "printed.toml", {}, 4);
  EXPECT_EQ(config.parallel.ring, 4);
  EXPECT_EQ(config.parallel.device, DeviceChoice::Cpu);
}

TEST_F(CheckProgram, SaysTheSameInJson) {
  ASSERT_EQ(run("check " + tiny_ + " --ranks 2 --json --set model.vocabulary_size=256"), 0) << error();
  const auto document = nlohmann::json::parse(output());
  EXPECT_EQ(document["valid"], true);
  EXPECT_EQ(document["config"]["parallel"]["layout"], "zigzag");
  EXPECT_EQ(document["tokens_per_step"], 512);
  // 2 V C + (2 L + 1) C + L (C (2 N + 2 G) D + 3 C F), F = 384
  EXPECT_EQ(document["parameters"], 2 * 256 * 128 + 5 * 128 + 2 * (128 * 12 * 32 + 3 * 128 * 384));
}

TEST_F(CheckProgram, EndsWithTwoAndListsEveryProblem) {
  const std::string wrong = " --ranks 3 --set train.lr=1 --set parallel.ring=2 --set train.steps=0";
  EXPECT_EQ(run("check " + tiny_ + wrong), 2);
  EXPECT_THAT(error(), HasSubstr("it is called train.learning_rate here"));
  EXPECT_THAT(error(), HasSubstr("3 ranks cannot be divided into rings of parallel.ring = 2"));
  EXPECT_THAT(error(), HasSubstr("3 problems\n"));
  EXPECT_THAT(output(), IsEmpty());
  EXPECT_EQ(run("check " + tiny_ + wrong + " --json"), 2);
  EXPECT_EQ(nlohmann::json::parse(output())["problems"].size(), 3U);
}

TEST_F(CheckProgram, EndsWithTwoForUsageAndThreeForABrokenCorpus) {
  EXPECT_EQ(run(""), 2);
  EXPECT_EQ(run("check"), 2);
  EXPECT_EQ(run("check " + tiny_ + " --ranks 0"), 2);
  EXPECT_EQ(run("check missing.toml"), 2);
  EXPECT_THAT(error(), HasSubstr("rondo: configuration error: missing.toml: there is no such configuration file"));
  EXPECT_EQ(run("chekc"), 2);
  EXPECT_THAT(error(), HasSubstr("did you mean 'check'?"));
  std::ofstream(folder_ / "corpus.h5") << "this is no HDF5 file";
  EXPECT_EQ(run("check " + tiny_), 3);
}

TEST_F(CheckProgram, RefusesWhatTrainingWouldRefuse) {
  EXPECT_EQ(run("check " + tiny_ + " --set data.corpus="), 2);
  EXPECT_THAT(error(), HasSubstr("data.corpus is empty"));
  std::ofstream(folder_ / "a.txt") << "a short text, but longer than nothing";
  ASSERT_EQ(run("prepare a.txt -o corpus.h5 -t bytes --validation 0"), 0) << error();
  EXPECT_EQ(run("check " + tiny_), 3);
  EXPECT_THAT(error(), HasSubstr("one sequence of data.sequence_length = 512 tokens is longer than all 37 tokens"));
  EXPECT_EQ(run("check " + tiny_ + " --set data.sequence_length=8 --set parallel.transport=nccl --json"), 2);
  EXPECT_EQ(nlohmann::json::parse(output())["problems"][0]["where"], "parallel.transport");
}

TEST_F(CheckProgram, SaysUsageErrorsInItsOwnWords) {
  EXPECT_EQ(run("train"), 2);
  EXPECT_THAT(error(),
              HasSubstr("rondo: configuration error: rondo train: config is required\n  `rondo train --help`"));
  EXPECT_EQ(run("train a.toml --run ''"), 2);
  EXPECT_THAT(error(), HasSubstr("--run: names no folder"));
  EXPECT_EQ(run("generate --checkpoint r --prompt x --tokens 0"), 2);
  EXPECT_THAT(error(), HasSubstr("--tokens: Value 0 not in range 1 to 16777216"));
  EXPECT_EQ(run("corpus"), 2);
  EXPECT_THAT(error(), HasSubstr("sample  "));
  EXPECT_EQ(run(""), 2);
  EXPECT_THAT(error(), HasSubstr("Exit codes:"));
}

TEST_F(CheckProgram, ExplainsItself) {
  ASSERT_EQ(run("--help"), 0);
  EXPECT_THAT(output(), HasSubstr("check"));
  EXPECT_THAT(output(), ::testing::Not(HasSubstr("config-reference")));
  ASSERT_EQ(run("check --help"), 0);
  EXPECT_THAT(output(), HasSubstr("Example:\n  rondo check "));
  ASSERT_EQ(run("--version"), 0);
  for (const char* part : {"rondo ", "build, commit ", "\nMPI    ", "\nHDF5   ", "\noneDNN "}) {
    EXPECT_THAT(output(), HasSubstr(part));
  }
}

}  // namespace
}  // namespace rondo::test

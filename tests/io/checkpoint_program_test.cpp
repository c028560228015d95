// SPDX-License-Identifier: Apache-2.0
// `rondo checkpoint` as a user runs it: what it prints and with which code it ends.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/wait.h>

#include "tests/io/checkpoint_support.hpp"

namespace rondo::test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class CheckpointProgram : public ::testing::Test {
 protected:
  CheckpointProgram() {
    const Communicator self = Communicator::self();
    for (std::int64_t step : {10, 20}) {
      store_.write(self, step, SampleState(SampleState::small(), static_cast<std::uint64_t>(step)).tensors(),
                   R"({"seed": 17, "tokenizer": "dna"})");
    }
  }
  int run(const std::string& arguments) const {
    const fs::path self = fs::read_symlink("/proc/self/exe");
    const std::string program = self.parent_path().parent_path() / "bin" / "rondo";
    const std::string command =
        "cd '" + folder_.path().string() + "' && '" + program + "' checkpoint " + arguments + " >out 2>err";
    const int status = std::system(command.c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  std::string output() const { return read_bytes(folder_.path() / "out"); }
  std::string error() const { return read_bytes(folder_.path() / "err"); }

  TemporaryFolder folder_;
  CheckpointStore store_{folder_.path() / "run" / "checkpoints"};
};

TEST_F(CheckpointProgram, TakesARunACheckpointsFolderOrAStep) {
  for (const char* folder : {"run", "run/checkpoints", "run/checkpoints/"}) {
    ASSERT_EQ(run("info " + std::string(folder) + " --json"), 0) << error();
    EXPECT_EQ(nlohmann::json::parse(output())["checkpoints"].size(), 2u) << folder;
  }
  ASSERT_EQ(run("info run/checkpoints/step-20 --tensors"), 0) << error();
  EXPECT_THAT(output(), HasSubstr("tokenizer"));
  EXPECT_THAT(output(), HasSubstr("optimizer/first/layers.0.weight"));
  EXPECT_THAT(output(), HasSubstr("[3, 2, 4]"));
  ASSERT_EQ(run("info run/checkpoints/step-20 --json"), 0);
  EXPECT_EQ(nlohmann::json::parse(output())["checkpoints"][0]["metadata"]["seed"], 17);
}

TEST_F(CheckpointProgram, ProvesOrNamesTheDamage) {
  ASSERT_EQ(run("verify run"), 0) << error();
  EXPECT_THAT(output(), HasSubstr("step-10: valid\n"));
  const fs::path state = store_.step_folder(10) / "state.h5";
  SampleState expected(SampleState::small(), 10);
  std::string bytes = read_bytes(state);
  const auto& values = expected.values()[1];
  const std::size_t at = bytes.find(std::string(reinterpret_cast<const char*>(values.data()), values.size()));
  ASSERT_NE(at, std::string::npos);
  bytes[at + 9] = static_cast<char>(bytes[at + 9] ^ 1);
  write_bytes(state, bytes);
  EXPECT_EQ(run("verify run"), 3);
  EXPECT_THAT(output(), HasSubstr("state.h5:parameters/layers.1.weight"));
  EXPECT_THAT(output(), HasSubstr("step-20: valid\n"));
  EXPECT_EQ(run("verify run --json"), 3);
  const auto document = nlohmann::json::parse(output());
  EXPECT_EQ(document["valid"], false);
  EXPECT_EQ(document["checkpoints"][1]["valid"], true);
}

TEST_F(CheckpointProgram, SaysWhatIsNotThere) {
  EXPECT_EQ(run("verify nothing"), 3);
  EXPECT_THAT(error(), HasSubstr("nothing"));
  fs::create_directories(folder_.path() / "empty");
  EXPECT_EQ(run("info empty"), 3);
  EXPECT_THAT(error(), HasSubstr("no checkpoints"));
}

}  // namespace
}  // namespace rondo::test

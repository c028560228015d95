// SPDX-License-Identifier: Apache-2.0
// Every file in configs/ is valid on the ranks that it names in a line "# ranks: R".
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "config/load.hpp"
#include "config/print.hpp"
#include "config/resolve.hpp"

namespace rondo::test {

int intended_ranks(const std::filesystem::path& path) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("# ranks: ")) return std::stoi(line.substr(9));
  }
  return 0;
}

TEST(ReadyFiles, AreValidOnTheRanksThatTheyName) {
  int num_files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(RONDO_SOURCE_DIR "/configs")) {
    if (entry.path().extension() != ".toml") continue;
    ++num_files;
    const int ranks = intended_ranks(entry.path());
    EXPECT_GT(ranks, 0) << entry.path() << " names no ranks";
    try {
      const RunConfig config = load_config(entry.path(), {}, ranks);
      resolve(config, {.world_size = ranks});
    } catch (const ConfigError& error) {
      ADD_FAILURE() << error.what();
    }
  }
  EXPECT_GE(num_files, 5);
}

// Each begins with the weights of the one before, so only what training them takes may differ.
TEST(ReadyFiles, LongRangeStagesAreOfOneModel) {
  std::vector<RunConfig> stages;
  for (const auto& entry : std::filesystem::directory_iterator(RONDO_SOURCE_DIR "/configs/long-range")) {
    stages.push_back(load_config(entry.path(), {}, 1));
    for (const Difference& d : differences(stages.front(), stages.back())) {
      EXPECT_FALSE(d.key.starts_with("model.")) << entry.path() << ": " << d.key;
    }
  }
  EXPECT_EQ(stages.size(), 5U);
}

TEST(ReadyFiles, TinyRunsOnEveryRankCountOfTheTests) {
  for (const int ranks : {1, 2, 3, 4, 5, 8, 16}) {
    EXPECT_NO_THROW(load_config(RONDO_SOURCE_DIR "/configs/tiny.toml", {}, ranks)) << ranks;
  }
}

}  // namespace rondo::test

// SPDX-License-Identifier: Apache-2.0
#include "config/load.hpp"

#include <cstdio>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <random>

#include "config/field.hpp"
#include "config/print.hpp"
#include "tests/config/sample.hpp"

namespace rondo::test {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(LoadConfig, ReadsKeysAndKeepsDefaults) {
  const RunConfig config = sample();
  EXPECT_EQ(config.model.d_model, 64);
  EXPECT_EQ(config.data.corpus, "a.h5");
  EXPECT_EQ(config.train.learning_rate, 0.001);
  EXPECT_EQ(config.train.beta_2, 0.95);
  EXPECT_EQ(config.checkpoint.every_minutes, 30.0);
  EXPECT_EQ(config.train.deterministic, std::nullopt);
  EXPECT_FALSE(config.parallel.layout.has_value());
}

TEST(LoadConfig, LetsOverridesWinAndTakesTextWithoutQuotes) {
  const RunConfig config =
      sample({"train.steps=20", "train.steps=30", "data.corpus=/data/my file.h5", "parallel.layout=striped",
              "train.time_limit=1h30m", "parallel.ring=2", "model.attention=[\"exact\", \"exact\"]",
              "train.deterministic=false", "train.initialise_from=\"quoted\"", "checkpoint.every_minutes=5"});
  EXPECT_EQ(config.train.steps, 30);
  EXPECT_EQ(config.data.corpus, "/data/my file.h5");
  EXPECT_EQ(config.parallel.layout, LayoutKind::Striped);
  EXPECT_EQ(config.train.time_limit, 5400.0);
  EXPECT_EQ(config.parallel.ring, 2);
  EXPECT_EQ(config.model.attention.size(), 2U);
  EXPECT_EQ(config.train.deterministic, false);
  EXPECT_EQ(sample({"train.deterministic=auto"}).train.deterministic, std::nullopt);
  EXPECT_EQ(config.train.initialise_from, "quoted");
  EXPECT_EQ(config.checkpoint.every_minutes, 5.0);
}

TEST(LoadConfig, TakesNumbersAsPathsWhereTextIsMeant) {
  EXPECT_EQ(sample({"data.corpus=1e5"}).data.corpus, "1e5");
  EXPECT_EQ(sample({"data.corpus=true"}).data.corpus, "true");
  EXPECT_EQ(sample({"data.corpus="}).data.corpus, "");
}

TEST(LoadConfig, AnOverrideMendsWhatTheFileHasWrong) {
  EXPECT_THAT(problems_of(kSample + "seed = -1\n", {"train.seed=1"}), IsEmpty());
}

TEST(LoadConfig, ReportsEverythingAtOnceInTheOrderOfTheFile) {
  const auto problems =
      problems_of("[model]\nlayers = 0\nd_modle = 64\nheads = 4\n[trian]\nsteps = 1\n[train]\nsteps = 1.5\n");
  ASSERT_EQ(problems.size(), 8U);
  EXPECT_THAT(problems[0], HasSubstr("a.toml:5:2: there is no table [trian]"));
  EXPECT_THAT(problems[1], HasSubstr("a.toml:2:10: model.layers"));
  EXPECT_THAT(problems[2], HasSubstr("a.toml:3:1: there is no key model.d_modle"));
  EXPECT_THAT(problems[3], HasSubstr("a.toml:8:9: train.steps"));
  EXPECT_THAT(problems[4], HasSubstr("a.toml:1:2: model.d_model is missing"));
  EXPECT_THAT(problems[5], HasSubstr("a.toml: data.corpus is missing"));
}

TEST(LoadConfig, ThrowsOneErrorThatListsTheProblems) {
  try {
    load_config_text("[model]\nlayers = 0\n", "a.toml");
    FAIL() << "no error";
  } catch (const ConfigProblems& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Config);
    EXPECT_EQ(error.problems().size(), 7U);
    EXPECT_THAT(error.what(), HasSubstr("7 problems in the configuration\n  a.toml:2:10: model.layers must be"));
  }
}

TEST(LoadConfig, NamesAFileThatIsNotThere) {
  try {
    load_config("/nowhere/a.toml", {});
    FAIL() << "no error";
  } catch (const ConfigError& error) {
    EXPECT_STREQ(error.what(), "/nowhere/a.toml: there is no such configuration file\n  ready ones are in configs/");
  }
  EXPECT_THROW(load_config("/", {}), ConfigError);
}

TEST(LoadConfig, RefusesAFileThatIsTooLargeToBeOne) {
  const std::string path = ::testing::TempDir() + "config_load_test_large.toml";
  std::ofstream(path) << std::string((1 << 20) + 1, '#');
  EXPECT_THROW(load_config(path, {}), ConfigError);
  std::remove(path.c_str());
}

struct WrongKey {
  const char* line;     // the last line, line 12 of the text, in [train]
  const char* message;  // the whole problem
};

void PrintTo(const WrongKey& wrong, std::ostream* out) { *out << wrong.line; }

class WrongKeys : public ::testing::TestWithParam<WrongKey> {};

TEST_P(WrongKeys, AreReportedWithPlaceRuleValueAndFix) {
  EXPECT_THAT(problems_of(kSample + GetParam().line + "\n"), ElementsAre(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    LoadConfig, WrongKeys,
    ::testing::Values(
        WrongKey{"seed = -1",
                 "a.toml:12:8: train.seed must be an integer from 0 to 2^63 - 1, but is -1\n"
                 "    fix: the default is 1, which is taken when the line is removed"},
        WrongKey{"seed = \"7\"",
                 "a.toml:12:8: train.seed must be an integer from 0 to 2^63 - 1, but is the text \"7\"\n"
                 "    fix: write 7 without quotes"},
        WrongKey{"warmup_steps = 1e1",
                 "a.toml:12:16: train.warmup_steps must be an integer from 0 to 2^40, but is 10.0\n"
                 "    fix: write 10"},
        WrongKey{"batch_sequences = 3000000000",
                 "a.toml:12:19: train.batch_sequences must be an integer from 1 to 2^31 - 1, but is 3000000000\n"
                 "    fix: the default is 1, which is taken when the line is removed"},
        WrongKey{"warmup_steps = true",
                 "a.toml:12:16: train.warmup_steps must be an integer from 0 to 2^40, but is true\n"
                 "    fix: the default is 0, which is taken when the line is removed"},
        WrongKey{"epsilon = nan",
                 "a.toml:12:11: train.epsilon must be a number > 0, but is nan\n"
                 "    fix: the default is 1e-8, which is taken when the line is removed"},
        WrongKey{"weight_decay = inf",
                 "a.toml:12:16: train.weight_decay must be a number >= 0, but is inf\n"
                 "    fix: the default is 0.1, which is taken when the line is removed"},
        WrongKey{"clip_norm = -inf",
                 "a.toml:12:13: train.clip_norm must be a number >= 0, but is -inf\n"
                 "    fix: the default is 1.0, which is taken when the line is removed"},
        WrongKey{"beta_1 = 1.0",
                 "a.toml:12:10: train.beta_1 must be a number >= 0 and < 1, but is 1.0\n"
                 "    fix: the default is 0.9, which is taken when the line is removed"},
        WrongKey{"beta_2 = \"0.9\"",
                 "a.toml:12:10: train.beta_2 must be a number >= 0 and < 1, but is the text \"0.9\"\n"
                 "    fix: write 0.9 without quotes"},
        WrongKey{"minimum_learning_rate_fraction = 2",
                 "a.toml:12:34: train.minimum_learning_rate_fraction must be a number >= 0 and <= 1, but is 2\n"
                 "    fix: the default is 0.1, which is taken when the line is removed"},
        WrongKey{
            "schedule = \"cosin\"",
            "a.toml:12:12: train.schedule must be \"cosine\", \"linear\" or \"constant\", but is the text \"cosin\"\n"
            "    fix: did you mean \"cosine\"?"},
        WrongKey{"schedule = 3",
                 "a.toml:12:12: train.schedule must be \"cosine\", \"linear\" or \"constant\", but is 3\n"
                 "    fix: the default is \"cosine\", which is taken when the line is removed"},
        WrongKey{"deterministic = 1",
                 "a.toml:12:17: train.deterministic must be \"auto\", true or false, but is 1\n"
                 "    fix: the default is \"auto\", which is taken when the line is removed"},
        WrongKey{"deterministic = \"yes\"",
                 "a.toml:12:17: train.deterministic must be \"auto\", true or false, but is the text \"yes\"\n"
                 "    fix: the default is \"auto\", which is taken when the line is removed"},
        WrongKey{"deterministic = \"false\"",
                 "a.toml:12:17: train.deterministic must be \"auto\", true or false, but is the text \"false\"\n"
                 "    fix: write false without quotes"},
        WrongKey{"initialise_from = 1979-05-27",
                 "a.toml:12:19: train.initialise_from must be the path of a file or folder, as text, but is a date or "
                 "time\n    fix: the default is \"\", which is taken when the line is removed"},
        WrongKey{"initialise_from = \"a\\u0000b\"",
                 "a.toml:12:19: train.initialise_from must be the path of a file or folder, as text, but is the text "
                 "\"a\\u0000b\"\n    fix: the default is \"\", which is taken when the line is removed"},
        WrongKey{"time_limit = \"23h40\"",
                 "a.toml:12:14: train.time_limit must be a duration such as \"23h40m\" or \"90s\", or a number of "
                 "seconds, but is the text \"23h40\"\n    fix: did you mean \"23h40m\"?"},
        WrongKey{"time_limit = -1",
                 "a.toml:12:14: train.time_limit must be a duration such as \"23h40m\" or \"90s\", or a number of "
                 "seconds, but is -1\n    fix: the default is \"0s\", which is taken when the line is removed"},
        WrongKey{"schedule = {kind = \"cosine\"}",
                 "a.toml:12:12: train.schedule must be \"cosine\", \"linear\" or \"constant\", but is a table\n"
                 "    fix: the default is \"cosine\", which is taken when the line is removed"},
        WrongKey{"warmup_steps = [1, 2]",
                 "a.toml:12:16: train.warmup_steps must be an integer from 0 to 2^40, but is a list\n"
                 "    fix: the default is 0, which is taken when the line is removed"},
        WrongKey{"lr = 1", "a.toml:12:1: there is no key train.lr\n    fix: it is called train.learning_rate here"},
        WrongKey{"warm_up_steps = 1",
                 "a.toml:12:1: there is no key train.warm_up_steps\n    fix: did you mean train.warmup_steps?"},
        WrongKey{"d_ff = 1", "a.toml:12:1: there is no key train.d_ff\n    fix: `d_ff` belongs into [model]"},
        WrongKey{"[modle]", "a.toml:12:2: there is no table [modle]\n    fix: did you mean [model]?"},
        WrongKey{"[something_else]",
                 "a.toml:12:2: there is no table [something_else]\n    fix: the tables are [model] [data] [train] "
                 "[parallel] [memory] [precision] [checkpoint] [evaluate] [log]"},
        WrongKey{"[log]\nx = 1", "a.toml:13:1: there is no key log.x\n    fix: [log] has every_steps, trace_steps"},
        WrongKey{"[parallel]\nring = 0",
                 "a.toml:13:8: parallel.ring must be \"all\" or an integer >= 1, but is 0\n"
                 "    fix: the default is \"all\", which is taken when the line is removed"},
        WrongKey{"[parallel]\nlayout = \"zig-zag\"",
                 "a.toml:13:10: parallel.layout must be \"auto\", \"contiguous\", \"zigzag\", \"striped\" or "
                 "\"block_cyclic\", but is the "
                 "text \"zig-zag\"\n    fix: did you mean \"zigzag\"?"},
        WrongKey{"[checkpoint]\nkeep = 0",
                 "a.toml:13:8: checkpoint.keep must be an integer from 1 to 1000000, but is 0\n"
                 "    fix: the default is 3, which is taken when the line is removed"},
        WrongKey{"[[log]]",
                 "a.toml:12:3: the key log stands outside all tables\n"
                 "    fix: docs/reference/configuration.md lists all keys"}));

TEST(LoadConfig, ReportsSyntaxErrorsWithTheirPlace) {
  const auto problems = problems_of("[model]\nlayers = two\n");
  ASSERT_EQ(problems.size(), 1U);
  EXPECT_THAT(problems[0], HasSubstr("a.toml:2:11: not valid TOML: "));
  EXPECT_THAT(problems_of("[model\n").at(0), HasSubstr("a.toml:1:"));
  EXPECT_THAT(problems_of("[model]\nlayers = 1\nlayers = 2\n").at(0), HasSubstr("a.toml:3:"));
  EXPECT_THAT(problems_of("[model]\n[model]\n").at(0), HasSubstr("a.toml:2:"));
  EXPECT_THAT(problems_of("a = 99999999999999999999\n").at(0), HasSubstr("a.toml:1:"));
}

struct WrongOverride {
  const char* argument;
  const char* message;
};

void PrintTo(const WrongOverride& wrong, std::ostream* out) { *out << wrong.argument; }

class WrongOverrides : public ::testing::TestWithParam<WrongOverride> {};

TEST_P(WrongOverrides, AreReportedAsGiven) {
  EXPECT_THAT(problems_of(kSample, {GetParam().argument}),
              ElementsAre("--set " + std::string(GetParam().argument) + ": " + GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    LoadConfig, WrongOverrides,
    ::testing::Values(
        WrongOverride{"foo", "an override has the form table.key=value\n    fix: e.g. --set train.steps=100"},
        WrongOverride{"steps=1", "an override has the form table.key=value\n    fix: e.g. --set train.steps=100"},
        WrongOverride{"steps=1.5", "an override has the form table.key=value\n    fix: e.g. --set train.steps=100"},
        WrongOverride{"trian.steps=1", "there is no table [trian]\n    fix: did you mean [train]?"},
        WrongOverride{"train.step=1", "there is no key train.step\n    fix: did you mean train.steps?"},
        WrongOverride{"train.seed=x",
                      "train.seed must be an integer from 0 to 2^63 - 1, but is the text \"x\"\n"
                      "    fix: the default is 1, which is taken when the line is removed"},
        WrongOverride{"train.seed=",
                      "train.seed must be an integer from 0 to 2^63 - 1, but is the text \"\"\n"
                      "    fix: the default is 1, which is taken when the line is removed"},
        WrongOverride{"train.seed=1\n[model]",
                      "train.seed must be an integer from 0 to 2^63 - 1, but is the text \"1\\n[model]\"\n"
                      "    fix: the default is 1, which is taken when the line is removed"},
        WrongOverride{"parallel.device=gpu",
                      "parallel.device must be \"auto\", \"cpu\", \"cuda\" or \"reference\", but is the text \"gpu\"\n"
                      "    fix: did you mean \"cpu\"?"},
        WrongOverride{"data.corpus=\xff",
                      "data.corpus must be the path of a file or folder, as text, but is the text \"\xff\"\n"
                      "    fix: see [data] in docs/reference/configuration.md"}));

TEST(LoadConfig, SurvivesRandomDamage) {
  std::mt19937_64 random(20240229);
  const std::string whole = to_toml(sample());
  int num_accepted = 0;
  for (int trial = 0; trial < 3000; ++trial) {
    std::string text = whole;
    const std::size_t num_edits = 1 + random() % 2;
    for (std::size_t edit = 0; edit < num_edits; ++edit) {
      const std::size_t at = random() % text.size();
      switch (random() % 3) {
        case 0: text[at] = static_cast<char>(random()); break;
        case 1: text.erase(at, 1 + random() % 20); break;
        default: text.insert(at, whole.substr(random() % whole.size(), random() % 30)); break;
      }
      if (text.empty()) text = "\n";
    }
    const ConfigDraft draft = draft_config_text(text, "a.toml", {});
    const std::vector<Problem> problems = all_problems(draft, 4);
    for (const Problem& problem : problems) EXPECT_FALSE(problem.where.empty()) << to_string(problem);
    if (problems.empty()) {
      ++num_accepted;
      EXPECT_EQ(load_config_text(to_toml(draft.config), "b.toml"), draft.config);
    }
  }
  EXPECT_GT(num_accepted, 20);  // the damage is not so large that nothing but the parser is tested
}

}  // namespace rondo::test

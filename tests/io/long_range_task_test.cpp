// SPDX-License-Identifier: Apache-2.0
// Samples of long-range tasks: as long as asked, with one right answer each that was said where it was to be said, the published
// text to the letter, independent from split to split.
#include "io/long_range_task.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <gtest/gtest.h>
#include <limits>
#include <map>
#include <set>

#include "core/error.hpp"

namespace rondo::test {
namespace {

const LongRangeTask kTasks[] = {LongRangeTask::PasskeyText, LongRangeTask::Passkey, LongRangeTask::Recall,
                                LongRangeTask::Rewrite};

TaskOptions options_of(LongRangeTask task, std::int64_t tokens = 600) {
  return {.task = task, .tokens = tokens, .seed = 5};
}

std::int32_t token_at(const TaskSample& sample, std::int64_t position) {
  return sample.tokens.at(static_cast<std::size_t>(position));
}

/// The fewest tokens for which there are samples.
std::int64_t least_tokens(TaskOptions options) {
  for (options.tokens = 1;; ++options.tokens) {
    try {
      check(options);
      return options.tokens;
    } catch (const ConfigError&) {
    }
  }
}

TEST(LongRangeTask, SamplesHaveExactlyTheTokensAskedFor) {
  for (const LongRangeTask task : kTasks) {
    TaskOptions options = options_of(task);
    options.outside_window = 40;
    const std::int64_t least = least_tokens(options);
    for (const std::int64_t tokens : {least, least + 1, least + 2, least + 97, std::int64_t{5000}}) {
      options.tokens = tokens;
      const std::int64_t vocabulary = tokenizer_of(options)->vocabulary_size();
      for (std::int64_t index = 0; index < 20; ++index) {
        const TaskSample sample = make_sample(options, SampleSplit::Train, index);
        ASSERT_EQ(std::ssize(sample.tokens), tokens) << name_of(task);
        for (const std::int32_t token : sample.tokens) ASSERT_TRUE(token >= 0 && token < vocabulary) << name_of(task);
      }
    }
  }
}

TEST(LongRangeTask, AnswersRepeatTheLastValueOfTheirSubject) {
  for (const LongRangeTask task : kTasks) {
    const TaskOptions options = options_of(task);
    for (std::int64_t index = 0; index < 50; ++index) {
      const TaskSample sample = make_sample(options, SampleSplit::Test, index);
      ASSERT_FALSE(sample.answers.empty());
      for (const TaskAnswer& answer : sample.answers) {
        const TaskStatement& said = sample.statements.at(static_cast<std::size_t>(answer.statement));
        for (std::int64_t i = 0; i < answer.num_value_tokens; ++i) {
          EXPECT_EQ(token_at(sample, answer.first + i), token_at(sample, said.value_first + i));
        }
        const auto same_subject = [&](const TaskStatement& other) { return other.subject == said.subject; };
        EXPECT_EQ(std::ranges::count_if(sample.statements, same_subject), answer.num_writes);
        const auto last = std::ranges::find_if(sample.statements.rbegin(), sample.statements.rend(), same_subject);
        EXPECT_EQ(last->first, said.first);
        EXPECT_GE(answer.first, sample.question_first);
        EXPECT_LE(said.end, sample.question_first);
      }
    }
  }
}

TEST(LongRangeTask, PasskeyTextIsThePublishedText) {
  const std::string sentence =
      "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.";
  std::string garbage = sentence;
  while (garbage.size() < 3000) garbage += " " + sentence;
  const TaskOptions options = options_of(LongRangeTask::PasskeyText, 3000);
  const auto tokenizer = tokenizer_of(options);
  for (std::int64_t index = 0; index < 200; ++index) {
    const TaskSample sample = make_sample(options, SampleSplit::Train, index);
    const TaskAnswer& answer = sample.answers.at(0);
    const std::string key = std::to_string(passkey_of(options, SampleSplit::Train, index));
    const std::string text = tokenizer->decode(sample.tokens);
    // prompt, then what we add: a space, the number and a stop
    EXPECT_EQ(text.substr(static_cast<std::size_t>(answer.first) - 1), " " + key + ".");
    EXPECT_EQ(answer.num_tokens, std::ssize(key) + 1);
    EXPECT_EQ(answer.num_value_tokens, std::ssize(key));
    std::vector<std::string> lines(1);
    for (const char c : text.substr(0, static_cast<std::size_t>(answer.first) - 1)) {
      if (c == '\n') {
        lines.emplace_back();
      } else {
        lines.back() += c;
      }
    }
    ASSERT_EQ(lines.size(), 5u);
    EXPECT_EQ(
        lines[0],
        "There is an important info hidden inside a lot of irrelevant text. Find it and memorize them. I will quiz you "
        "about the important information there.");
    EXPECT_EQ(lines[1], garbage.substr(0, lines[1].size()));
    EXPECT_EQ(lines[2], "The pass key is " + key + ". Remember it. " + key + " is the pass key.");
    EXPECT_EQ(lines[3], garbage.substr(0, lines[3].size()));
    EXPECT_EQ(lines[4], "What is the pass key? The pass key is");
  }
}

TEST(LongRangeTask, PasskeysOfTextCoverTheirRange) {
  const TaskOptions options = options_of(LongRangeTask::PasskeyText);
  std::int64_t least = 50001, most = 0;
  double sum = 0;
  constexpr std::int64_t kSamples = 20000;
  for (std::int64_t index = 0; index < kSamples; ++index) {
    const std::int64_t key = passkey_of(options, SampleSplit::Train, index);
    least = std::min(least, key);
    most = std::max(most, key);
    sum += static_cast<double>(key);
  }
  EXPECT_TRUE(least >= 1 && least < 50) << least;
  EXPECT_TRUE(most <= 50000 && most > 49950) << most;
  EXPECT_NEAR(sum / kSamples, 25000.5, 5 * 50000 / std::sqrt(12.0 * kSamples));  // five standard errors
}

TEST(LongRangeTask, PasskeyIsAMarkAndDigitsAmongFiller) {
  TaskOptions options = options_of(LongRangeTask::Passkey, 200);
  options.digits = 7;
  options.filler_ids = 3;
  for (std::int64_t index = 0; index < 50; ++index) {
    const TaskSample sample = make_sample(options, SampleSplit::Test, index);
    ASSERT_EQ(sample.statements.size(), 1u);
    const TaskStatement& said = sample.statements[0];
    EXPECT_EQ(said.end - said.first, 8);
    EXPECT_EQ(token_at(sample, said.first), 13);
    EXPECT_EQ(token_at(sample, sample.question_first), 13);
    EXPECT_EQ(sample.answers.at(0).first, 193);
    std::int64_t key = 0;
    for (std::int64_t i = said.value_first; i < said.end; ++i) key = 10 * key + token_at(sample, i) - 3;
    EXPECT_EQ(key, passkey_of(options, SampleSplit::Test, index));
    for (std::int64_t i = 0; i < sample.question_first; ++i) {
      if (i >= said.first && i < said.end) continue;
      EXPECT_LT(token_at(sample, i), 3);
    }
  }
}

TEST(LongRangeTask, PairsAreDistinctKeysAmongFiller) {
  TaskOptions options = options_of(LongRangeTask::Recall, 150);
  options.keys = 20;
  options.values = 5;
  options.filler_ids = 4;
  options.pairs = 20;
  options.queries = 6;
  options.question_tokens = 40;
  std::set<std::int64_t> question_places;
  for (std::int64_t index = 0; index < 100; ++index) {
    const TaskSample sample = make_sample(options, SampleSplit::Test, index);
    std::set<std::int64_t> said, asked, pairs;
    for (const TaskStatement& statement : sample.statements) {
      said.insert(token_at(sample, statement.first));
      pairs.insert({statement.first, statement.first + 1});
    }
    EXPECT_EQ(said.size(), 20u);
    EXPECT_EQ(*said.begin(), 4);
    EXPECT_EQ(*said.rbegin(), 23);
    EXPECT_EQ(sample.answers.size(), 6u);
    EXPECT_EQ(sample.question_first, 110);
    for (const TaskAnswer& answer : sample.answers) {
      const TaskStatement& statement = sample.statements[static_cast<std::size_t>(answer.statement)];
      EXPECT_EQ(token_at(sample, answer.first - 1), token_at(sample, statement.first));
      EXPECT_TRUE(token_at(sample, answer.first) >= 24 && token_at(sample, answer.first) < 29);
      asked.insert(token_at(sample, answer.first - 1));
      pairs.insert({answer.first - 1, answer.first});
      question_places.insert(answer.first - 1);
    }
    EXPECT_EQ(asked.size(), 6u) << "a key is asked for once";
    EXPECT_EQ(pairs.size(), 52u) << "pairs do not overlap";
    for (std::int64_t i = 0; i < options.tokens; ++i) {
      if (pairs.contains(i)) continue;
      EXPECT_LT(token_at(sample, i), 4);
    }
  }
  EXPECT_EQ(question_places.size(), 39u) << "questions are spread over all their tokens";
}

TEST(LongRangeTask, RewritesGiveAKeyAnotherValueEveryTime) {
  TaskOptions options = options_of(LongRangeTask::Rewrite);
  options.values = 4;
  options.least_writes = 2;
  options.most_writes = 4;
  std::map<std::int64_t, int> num_writes;
  for (std::int64_t index = 0; index < 200; ++index) {
    const TaskSample sample = make_sample(options, SampleSplit::Train, index);
    std::map<std::int64_t, std::set<std::int32_t>> values;
    for (const TaskStatement& said : sample.statements) {
      EXPECT_TRUE(values[said.subject].insert(token_at(sample, said.value_first)).second);
    }
    EXPECT_EQ(values.size(), 8u);
    for (const TaskAnswer& answer : sample.answers) ++num_writes[answer.num_writes];
  }
  EXPECT_EQ(num_writes.size(), 3u);
  for (const auto& [writes, count] : num_writes) {  // 1600 answers, a third each; five standard deviations
    EXPECT_TRUE(writes >= 2 && writes <= 4);
    EXPECT_NEAR(count, 1600.0 / 3, 5 * std::sqrt(1600.0 * 2 / 9));
  }
}

TEST(LongRangeTask, ValuesAreUniformWhateverElseIsSaid) {
  for (const LongRangeTask task : {LongRangeTask::Recall, LongRangeTask::Rewrite}) {
    TaskOptions options = options_of(task);
    options.values = 4;
    std::map<std::int32_t, int> count;
    for (std::int64_t index = 0; index < 500; ++index) {
      const TaskSample sample = make_sample(options, SampleSplit::Train, index);
      for (const TaskAnswer& answer : sample.answers) ++count[token_at(sample, answer.first)];
    }
    EXPECT_EQ(count.size(), 4u);
    for (const auto& [value, times] : count) EXPECT_NEAR(times, 1000.0, 5 * std::sqrt(4000.0 * 3 / 16)) << value;
  }
}

TEST(LongRangeTask, NothingOfAStatementIsInTheWindowOfTheQuestion) {
  for (const LongRangeTask task : kTasks) {
    for (const std::int64_t window : {1, 2, 3, 4, 5, 64, 130}) {
      TaskOptions options = options_of(task);
      options.outside_window = window;
      std::int64_t nearest = options.tokens;
      options.tokens = least_tokens(options) + 3;
      for (std::int64_t index = 0; index < 300; ++index) {
        const TaskSample sample = make_sample(options, SampleSplit::Train, index);
        for (const TaskStatement& said : sample.statements) {
          nearest = std::min(nearest, sample.question_first - (said.end - 1));
        }
      }
      EXPECT_GE(nearest, window) << name_of(task);
      // the published text has two newlines between statement and question
      EXPECT_LE(nearest, std::max<std::int64_t>(window, task == LongRangeTask::PasskeyText ? 3 : 1)) << name_of(task);
    }
  }
}

TEST(LongRangeTask, StatementsLieAtTheDepthAskedFor) {
  for (const LongRangeTask task : kTasks) {
    TaskOptions options = options_of(task, 10000);
    const auto places = [&](double first, double last) {
      options.depth_first = first;
      options.depth_last = last;
      double least = 1, most = 0;
      for (std::int64_t index = 0; index < 400; ++index) {
        for (const TaskStatement& said : make_sample(options, SampleSplit::Train, index).statements) {
          least = std::min(least, static_cast<double>(said.first) / 10000);
          most = std::max(most, static_cast<double>(said.first) / 10000);
        }
      }
      return std::pair(least, most);
    };
    // 3 % of the sample is no filler
    const auto all = places(0, 1), part = places(0.25, 0.5), point = places(0.7, 0.7);
    EXPECT_TRUE(all.first < 0.03 && all.second > 0.97) << name_of(task);
    EXPECT_TRUE(part.first > 0.22 && part.first < 0.28 && part.second > 0.47 && part.second < 0.53) << name_of(task);
    EXPECT_TRUE(point.first > 0.67 && point.second < 0.73) << name_of(task);
  }
}

TEST(LongRangeTask, PlacesAreUniform) {
  TaskOptions options = options_of(LongRangeTask::Passkey, 20);
  options.digits = 1;  // 16 filler tokens: 17 places
  std::map<std::int64_t, int> count;
  for (std::int64_t index = 0; index < 17000; ++index) {
    ++count[make_sample(options, SampleSplit::Train, index).statements[0].first];
  }
  EXPECT_EQ(count.size(), 17u);
  for (const auto& [place, times] : count) EXPECT_NEAR(times, 1000, 5 * std::sqrt(1000.0)) << place;
}

TEST(LongRangeTask, SamplesDependOnSeedSplitAndIndexAlone) {
  for (const LongRangeTask task : kTasks) {
    TaskOptions options = options_of(task);
    const auto tokens = [&](SampleSplit split, std::int64_t index) {
      return make_sample(options, split, index).tokens;
    };
    const auto sample = tokens(SampleSplit::Train, 3);
    EXPECT_EQ(tokens(SampleSplit::Train, 3), sample);
    EXPECT_NE(tokens(SampleSplit::Train, 4), sample);
    EXPECT_NE(tokens(SampleSplit::Test, 3), sample);
    EXPECT_NE(tokens(SampleSplit::Validation, 3), sample);
    EXPECT_NE(tokens(SampleSplit::Validation, 3), tokens(SampleSplit::Test, 3));
    options.seed = 6;
    EXPECT_NE(tokens(SampleSplit::Train, 3), sample);
  }
}

TEST(LongRangeTask, TestKeysAreSeenInTrainingByChanceOnly) {
  TaskOptions options = options_of(LongRangeTask::Passkey);
  options.digits = 4;
  // 5000 draws of 10000 keys leave out exp(-1/2) of them; 2000 test keys, five standard deviations
  EXPECT_NEAR(share_of_passkeys_seen(options, SampleSplit::Test, 2000, 5000), 1 - std::exp(-0.5), 5 * 0.011);
  EXPECT_EQ(share_of_passkeys_seen(options, SampleSplit::Test, 2000, 0), 0);
  EXPECT_EQ(share_of_passkeys_seen(options, SampleSplit::Train, 500, 500), 1);
}

TEST(LongRangeTask, SentencesBeginAgainBehindEveryStatement) {
  TaskOptions options = options_of(LongRangeTask::Recall, 100);
  options.filler = Filler::Sentence;
  options.filler_ids = 7;
  const TaskSample sample = make_sample(options, SampleSplit::Train, 0);
  std::set<std::int64_t> pairs;
  for (const TaskStatement& said : sample.statements) pairs.insert({said.first, said.first + 1});
  std::int32_t next = 0;
  for (std::int64_t i = 0; i < sample.question_first; ++i) {
    if (pairs.contains(i)) {
      next = 0;
      continue;
    }
    EXPECT_EQ(token_at(sample, i), next) << i;
    next = (next + 1) % 7;
  }
}

TEST(LongRangeTask, CompressionsCountFromTheUpdateThatTakesTheStatementIn) {
  const auto count = [](std::int64_t said_last, std::int64_t answer, std::int64_t window_segments) {
    return compressions_between({.first = 0, .end = said_last + 1}, {.first = answer}, 10, window_segments);
  };
  EXPECT_EQ(count(5, 10, 0), 0);  // the question is token 9, in the statement's segment
  EXPECT_EQ(count(5, 11, 0), 1);
  EXPECT_EQ(count(10, 11, 0), 0);
  EXPECT_EQ(count(5, 100, 0), 9);
  EXPECT_EQ(count(5, 101, 0), 10);
  EXPECT_EQ(count(5, 101, 3), 7);
  EXPECT_EQ(count(5, 101, 10), 0);
  EXPECT_EQ(count(5, 101, 99), 0);
}

TEST(LongRangeTask, ChanceIsThatOfTheBestGuess) {
  EXPECT_DOUBLE_EQ(chance_of(options_of(LongRangeTask::Recall)).exact, 1.0 / 64);
  EXPECT_DOUBLE_EQ(chance_of(options_of(LongRangeTask::Rewrite)).token, 1.0 / 64);
  EXPECT_DOUBLE_EQ(chance_of(options_of(LongRangeTask::Passkey)).exact, 1e-5);
  EXPECT_DOUBLE_EQ(chance_of(options_of(LongRangeTask::Passkey)).token, 0.1);
  // counted over texts: for every beginning of a number the most frequent digit after it
  std::map<std::string, std::map<char, int>> next;
  int num_digits = 0, num_right = 0;
  for (int key = 1; key <= 50000; ++key) {
    const std::string text = std::to_string(key);
    for (std::size_t i = 0; i < text.size(); ++i, ++num_digits) ++next[text.substr(0, i)][text[i]];
  }
  for (const auto& [begin, digits] : next) {
    num_right += std::ranges::max_element(digits, {}, [](const auto& entry) { return entry.second; })->second;
  }
  EXPECT_DOUBLE_EQ(chance_of(options_of(LongRangeTask::PasskeyText)).token,
                   static_cast<double>(num_right) / num_digits);
  EXPECT_DOUBLE_EQ(chance_of(options_of(LongRangeTask::PasskeyText)).exact, 2e-5);
}

TEST(LongRangeTask, RefusalsNameTheOptionTheRuleAndTheFix) {
  const auto complaint = [](LongRangeTask task, const std::function<void(TaskOptions&)>& change) -> std::string {
    TaskOptions options = options_of(task);
    change(options);
    try {
      check(options);
    } catch (const ConfigError& error) {
      return error.where() + ": " + error.message() + "; " + error.advice();
    }
    return "accepted";
  };
  using Options = TaskOptions;
  const auto recall = [&](auto change) { return complaint(LongRangeTask::Recall, change); };
  const auto rewrite = [&](auto change) { return complaint(LongRangeTask::Rewrite, change); };
  EXPECT_EQ(
      recall([](Options& o) { o.tokens = 31; }),
      "--tokens: a sample of the task recall needs 32 tokens for what it says and asks, more than 31; set --tokens to "
      "32 or more, or --pairs, --queries or --writes to less");
  EXPECT_EQ(recall([](Options& o) { o.tokens = 32; }), "accepted");
  EXPECT_EQ(
      recall([](Options& o) { o.outside_window = 570; }),
      "--outside-window: a sample of the task recall with 600 tokens leaves no place outside a window of 570 tokens of "
      "the question; set it to at most 569, or --tokens to 601 or more");
  EXPECT_EQ(recall([](Options& o) { o.outside_window = 569; }), "accepted");
  EXPECT_EQ(
      recall([](Options& o) { o.pairs = 65; }),
      "--pairs: a sample has from 1 to all of the --keys = 64 keys, but 65 are asked for; set --keys to 65 or more");
  EXPECT_EQ(
      recall([](Options& o) { o.queries = 9; }),
      "--queries: a key is asked for at most once: there are --pairs = 8, so not 9 questions; set it to at most 8");
  EXPECT_EQ(recall([](Options& o) { o.question_tokens = std::numeric_limits<std::int64_t>::max(); }),
            "--question-tokens: must be from 0 to 1099511627776, not 9223372036854775807; ");
  EXPECT_EQ(recall([](Options& o) { o.question_tokens = 15; }),
            "--question-tokens: 8 questions take 2 tokens each, more than 15; set it to 16 or more");
  EXPECT_EQ(recall([](Options& o) { o.values = 1; }), "--values: must be from 2 to 1048576, not 1; ");
  EXPECT_EQ(recall([](Options& o) { o.filler_ids = 0; }), "--filler-ids: must be from 1 to 1048576, not 0; ");
  EXPECT_EQ(recall([](Options& o) { o.depth_first = 0.6, o.depth_last = 0.5; }),
            "--depth: the key lies between two parts of the filler, 0 <= A <= B <= 1; as in --depth 0 0.5; equal "
            "numbers give "
            "one depth");
  EXPECT_NE(recall([](Options& o) { o.depth_last = std::nan(""); }), "accepted");
  EXPECT_NE(rewrite([](Options& o) { o.least_writes = 5; }).find("1 <= A <= B, not from 5 to 4"), std::string::npos);
  EXPECT_NE(rewrite([](Options& o) { o.values = 3; }).find("4 writes need as many values"), std::string::npos);
  EXPECT_NE(rewrite([](Options& o) { o.tokens = 79; }).find("needs 80 tokens"), std::string::npos);
  EXPECT_NE(complaint(LongRangeTask::Passkey, [](Options& o) { o.digits = 19; }).find("from 1 to 18"),
            std::string::npos);
  EXPECT_NE(complaint(LongRangeTask::PasskeyText, [](Options& o) { o.tokens = 200; }).find("--tokens"),
            std::string::npos);
  try {
    long_range_task_from("copy");
    ADD_FAILURE() << "accepted";
  } catch (const ConfigError& error) {
    EXPECT_EQ(error.advice(), "known tasks: passkey, passkey_text, recall, rewrite");
  }
}

}  // namespace
}  // namespace rondo::test

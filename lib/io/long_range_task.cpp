// SPDX-License-Identifier: Apache-2.0
// The long-range tasks, and which of their options are valid together.
#include "io/long_range_task.hpp"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.hpp"
#include "io/long_range_layout.hpp"
#include "io/tokenizers.hpp"

namespace rondo {

namespace {

constexpr std::int64_t kMostDigits = 18;
constexpr std::int64_t kMostTokens = std::int64_t{1} << 40;
constexpr std::int64_t kMostIds = std::int64_t{1} << 20;

void require_range(std::int64_t value, std::int64_t least, std::int64_t most, const std::string& option) {
  if (value >= least && value <= most) return;
  throw ConfigError(
      "must be from " + std::to_string(least) + " to " + std::to_string(most) + ", not " + std::to_string(value),
      option);
}

void check_pairs(const TaskOptions& options) {
  require_range(options.keys, 1, kMostIds, "--keys");
  require_range(options.values, 2, kMostIds, "--values");
  if (options.pairs < 1 || options.pairs > options.keys) {
    throw ConfigError("a sample has from 1 to all of the --keys = " + std::to_string(options.keys) + " keys, but " +
                          std::to_string(options.pairs) + " are asked for",
                      "--pairs",
                      "set --keys to " + std::to_string(std::max<std::int64_t>(options.pairs, 1)) + " or more");
  }
  if (options.queries < 0 || options.queries > options.pairs) {
    throw ConfigError("a key is asked for at most once: there are --pairs = " + std::to_string(options.pairs) +
                          ", so not " + std::to_string(options.queries) + " questions",
                      "--queries", "set it to at most " + std::to_string(options.pairs));
  }
  require_range(options.question_tokens, 0, kMostTokens, "--question-tokens");
  if (options.question_tokens != 0 && options.question_tokens < kPairTokens * options.num_queries()) {
    throw ConfigError(std::to_string(options.num_queries()) + " questions take 2 tokens each, more than " +
                          std::to_string(options.question_tokens),
                      "--question-tokens",
                      "set it to " + std::to_string(kPairTokens * options.num_queries()) + " or more");
  }
  if (options.task != LongRangeTask::Rewrite) return;
  if (options.least_writes < 1 || options.least_writes > options.most_writes) {
    throw ConfigError("a key is written from A to B times with 1 <= A <= B, not from " +
                          std::to_string(options.least_writes) + " to " + std::to_string(options.most_writes),
                      "--writes", "as in --writes 1 4");
  }
  if (options.most_writes > options.values) {
    throw ConfigError("a key gets another value with every write: " + std::to_string(options.most_writes) +
                          " writes need as many values, but there are " + std::to_string(options.values),
                      "--writes", "set --values to " + std::to_string(options.most_writes) + " or more");
  }
}

void check_room(const TaskOptions& options, const std::string& tokens_option) {
  const std::int64_t least = statement_tokens_of(options) + question_tokens_of(options);
  const std::string what = "a sample of the task " + std::string(name_of(options.task));
  if (options.tokens < least) {
    throw ConfigError(what + " needs " + std::to_string(least) + " tokens for what it says and asks, more than " +
                          std::to_string(options.tokens),
                      tokens_option,
                      "set " + tokens_option + " to " + std::to_string(least) + " or more" +
                          (options.has_pairs() ? ", or --pairs, --queries or --writes to less" : ""));
  }
  const std::int64_t room = options.tokens - least, needed = least_filler_behind(options);
  if (needed > room) {
    throw ConfigError(what + " with " + std::to_string(options.tokens) +
                          " tokens leaves no place outside a window of " + std::to_string(options.outside_window) +
                          " tokens of the question",
                      "--outside-window",
                      "set it to at most " + std::to_string(options.outside_window - (needed - room)) + ", or " +
                          tokens_option + " to " + std::to_string(options.tokens + needed - room) + " or more");
  }
}

/// Accuracy per token of a passkey text's number when guessing the most frequent digit after the right digits before it.
double text_token_chance() {
  std::vector<std::int64_t> count(static_cast<std::size_t>(PasskeyText::kLargestKey) +
                                  1);  // keys that begin with this number
  std::int64_t num_digits = 0, num_right = 0;
  for (std::int64_t key = 1; key <= PasskeyText::kLargestKey; ++key) {
    for (std::int64_t begin = key; begin > 0; begin /= 10, ++num_digits) ++count[static_cast<std::size_t>(begin)];
  }
  for (std::int64_t begin = 0; begin <= PasskeyText::kLargestKey / 10; ++begin) {
    std::int64_t most = 0;
    for (std::int64_t next = std::max<std::int64_t>(10 * begin, 1); next < 10 * begin + 10; ++next) {
      if (next <= PasskeyText::kLargestKey) most = std::max(most, count[static_cast<std::size_t>(next)]);
    }
    num_right += most;
  }
  return static_cast<double>(num_right) / static_cast<double>(num_digits);
}

}  // namespace

std::string_view name_of(LongRangeTask task) {
  switch (task) {
    case LongRangeTask::PasskeyText: return "passkey_text";
    case LongRangeTask::Passkey: return "passkey";
    case LongRangeTask::Recall: return "recall";
    case LongRangeTask::Rewrite: return "rewrite";
  }
  return "recall";
}

LongRangeTask long_range_task_from(std::string_view name) {
  for (const LongRangeTask task :
       {LongRangeTask::PasskeyText, LongRangeTask::Passkey, LongRangeTask::Recall, LongRangeTask::Rewrite}) {
    if (name == name_of(task)) return task;
  }
  throw ConfigError("there is no task \"" + std::string(name) + "\"", "--task",
                    "known tasks: passkey, passkey_text, recall, rewrite");
}

void check(const TaskOptions& options, const std::string& tokens_option) {
  require_range(options.tokens, 1, kMostTokens, tokens_option);
  require_range(options.outside_window, 0, kMostTokens, "--outside-window");
  const bool is_depth =
      options.depth_first >= 0 && options.depth_first <= options.depth_last && options.depth_last <= 1;
  if (!is_depth) {
    throw ConfigError("the key lies between two parts of the filler, 0 <= A <= B <= 1", "--depth",
                      "as in --depth 0 0.5; equal numbers give one depth");
  }
  if (!options.is_text()) require_range(options.filler_ids, 1, kMostIds, "--filler-ids");
  if (options.task == LongRangeTask::Passkey) require_range(options.digits, 1, kMostDigits, "--digits");
  if (options.has_pairs()) check_pairs(options);
  check_room(options, tokens_option);
}

std::int64_t compressions_between(const TaskStatement& statement, const TaskAnswer& answer, std::int64_t segment_tokens,
                                  std::int64_t window_segments) {
  const std::int64_t written = (statement.end - 1) / segment_tokens, asked = (answer.first - 1) / segment_tokens;
  return std::max<std::int64_t>(asked - window_segments - written, 0);
}

ChanceLevel chance_of(const TaskOptions& options) {
  if (options.is_text()) return {1.0 / static_cast<double>(PasskeyText::kLargestKey), text_token_chance()};
  if (options.task == LongRangeTask::Passkey) return {std::pow(10.0, -static_cast<double>(options.digits)), 0.1};
  return {1.0 / static_cast<double>(options.values), 1.0 / static_cast<double>(options.values)};
}

std::unique_ptr<Tokenizer> tokenizer_of(const TaskOptions& options) {
  if (options.is_text()) return std::make_unique<ByteTokenizer>();
  return std::make_unique<IdsTokenizer>(options.filler_ids +
                                        (options.has_pairs() ? options.keys + options.values : kDigitIds + 1));
}

std::string to_json(const TaskOptions& options) {
  nlohmann::ordered_json json{{"task", name_of(options.task)},
                              {"tokens", options.tokens},
                              {"seed", options.seed},
                              {"depth", {options.depth_first, options.depth_last}},
                              {"outside_window", options.outside_window}};
  if (!options.is_text()) {
    json["filler"] = options.filler == Filler::Noise ? "noise" : "sentence";
    json["filler_ids"] = options.filler_ids;
  }
  if (options.task == LongRangeTask::Passkey) json["digits"] = options.digits;
  if (options.has_pairs()) {
    json["pairs"] = options.pairs;
    json["queries"] = options.num_queries();
    json["question_tokens"] = question_tokens_of(options);
    json["keys"] = options.keys;
    json["values"] = options.values;
  }
  if (options.task == LongRangeTask::Rewrite) json["writes"] = {options.least_writes, options.most_writes};
  return json.dump();
}

}  // namespace rondo

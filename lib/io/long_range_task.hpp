// SPDX-License-Identifier: Apache-2.0
// Long-range tasks: samples whose questions ask for what was stated long before. A sample is a pure function of options, split
// and index, so it is the same on every machine and nothing needs to be stored. docs/how-to-long-range-tasks.md shows them.
//
//   passkey_text  the published passkey text in bytes: a number in repeated sentences; the question at the end asks for it
//   passkey       digits after a marker among filler ids; the marker again at the end asks for them
//   recall        (key, value) pairs among filler; keys again at the end, each followed by its value
//   rewrite       the same, but keys are written several times with different values, and the question asks for the last
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "io/tokenizer.hpp"

namespace rondo {

enum class LongRangeTask { PasskeyText, Passkey, Recall, Rewrite };
std::string_view name_of(LongRangeTask task);
/// Throws ConfigError naming the known tasks.
LongRangeTask long_range_task_from(std::string_view name);

/// Tokens between statements: random ids, or the filler ids in order repeatedly, starting with the first after every statement.
enum class Filler { Noise, Sentence };

/// Samples of one seed are independent from split to split.
enum class SampleSplit { Train, Validation, Test };

struct TaskOptions {
  LongRangeTask task = LongRangeTask::Recall;
  std::int64_t tokens = 4096;  ///< per sample, exactly
  std::uint64_t seed = 0;
  /// Statements begin after this fraction of the filler, as in "at 10 to 20 % of the text".
  double depth_first = 0.0, depth_last = 1.0;
  /// Least distance in positions from the last token of a statement to the first question.
  std::int64_t outside_window = 0;
  Filler filler = Filler::Noise;  ///< not for passkey_text
  std::int64_t filler_ids = 32;   ///< not for passkey_text
  std::int64_t digits = 5;        ///< passkey
  // recall and rewrite
  std::int64_t pairs = 8;                          ///< different keys in a sample
  std::int64_t queries = 0;                        ///< how many keys the questions ask for; 0: all
  std::int64_t question_tokens = 0;                ///< over which the questions are spread; 0: 2 per question
  std::int64_t keys = 64, values = 64;             ///< numbers of ids for keys and for values
  std::int64_t least_writes = 1, most_writes = 4;  ///< rewrite: how often one key is written

  std::int64_t num_queries() const { return queries == 0 ? pairs : queries; }
  bool is_text() const { return task == LongRangeTask::PasskeyText; }
  bool has_pairs() const { return task == LongRangeTask::Recall || task == LongRangeTask::Rewrite; }
};

/// Throws ConfigError, naming the command-line option, when there are no such samples.
/// @param tokens_option  the option that sets options.tokens
void check(const TaskOptions& options, const std::string& tokens_option = "--tokens");

/// A statement in a sample: tokens [first, end), with a value that begins at value_first.
struct TaskStatement {
  std::int64_t first = 0, end = 0;
  std::int64_t value_first = 0;
  std::int64_t subject = 0;  ///< what the value belongs to: statements with the same key have the same subject
};

/// The tokens of an answer, of which the first `num_value_tokens` repeat the value of a statement.
struct TaskAnswer {
  std::int64_t first = 0, num_tokens = 0;
  std::int64_t num_value_tokens = 0;  ///< passkey_text has one more token, which ends the number
  std::int64_t statement = 0;         ///< index of the statement with the right value: the last of its subject
  std::int64_t num_writes = 0;        ///< statements of that subject
};

struct TaskSample {
  std::vector<std::int32_t> tokens;
  std::vector<TaskStatement> statements;  ///< ascending
  std::vector<TaskAnswer> answers;        ///< ascending
  /// Where the first question begins: everything before it is context.
  std::int64_t question_first = 0;
};

/// @pre check(options) has passed, index >= 0
TaskSample make_sample(const TaskOptions& options, SampleSplit split, std::int64_t index);
/// The number in a sample of passkey or passkey_text, without generating the sample.
std::int64_t passkey_of(const TaskOptions& options, SampleSplit split, std::int64_t index);
/// The fraction of the first `num_samples` passkeys of a split that also occur in the first `num_train` training samples.
double share_of_passkeys_seen(const TaskOptions& options, SampleSplit split, std::int64_t num_samples,
                              std::int64_t num_train);

/// Updates of the memory from the segment of the statement's last token to the one that predicts the answer: 0 if the statement
/// is still in the window, 1 if its segment is the newest in the memory.
std::int64_t compressions_between(const TaskStatement& statement, const TaskAnswer& answer, std::int64_t segment_tokens,
                                  std::int64_t window_segments);

/// Expected accuracy of guessing with knowledge of the task but not of the sample.
struct ChanceLevel {
  double exact = 0;  ///< whole answers
  double token = 0;  ///< tokens of values, each given the right tokens before it
};
ChanceLevel chance_of(const TaskOptions& options);

std::unique_ptr<Tokenizer> tokenizer_of(const TaskOptions& options);
/// One line of JSON with every option of the task.
std::string to_json(const TaskOptions& options);

}  // namespace rondo

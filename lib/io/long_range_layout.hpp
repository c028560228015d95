// SPDX-License-Identifier: Apache-2.0
// How long the parts of a long-range sample are, and the published passkey text: used only by the checks of the options and by
// the generation of samples.
#pragma once

#include <algorithm>

#include "io/long_range_task.hpp"

namespace rondo {

inline constexpr std::int64_t kDigitIds = 10;
inline constexpr std::int64_t kPairTokens = 2;

inline std::int64_t num_text_tokens(std::string_view text) { return static_cast<std::int64_t>(text.size()); }

/// The text of Mohtashami and Jaggi ("Landmark Attention", 2023), whose keys are 1 to 50000: five lines.
struct PasskeyText {
  static constexpr std::string_view kTaskLine =
      "There is an important info hidden inside a lot of irrelevant text. Find it and memorize them. I will quiz you "
      "about the important information there.\n";
  static constexpr std::string_view kFillerSentences =
      "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again. ";
  static constexpr std::string_view kKeyBegins = "The pass key is ";
  static constexpr std::string_view kKeyRepeats = ". Remember it. ";
  static constexpr std::string_view kKeyEnds = " is the pass key.";
  static constexpr std::string_view kQuestionLine = "What is the pass key? The pass key is";
  static constexpr std::int64_t kLargestKey = 50000, kMostDigits = 5;
  // Added for a model that predicts bytes: the space before the number and the full stop after it, as in the statement.
  static constexpr std::string_view kBeforeAnswer = " ", kAfterAnswer = ".";
  // Three newlines: after the first filler, the statement and the second filler.
  static constexpr std::int64_t kEndsOfLines = 3;
};

inline std::int64_t question_tokens_of(const TaskOptions& options) {
  if (options.is_text()) {
    return num_text_tokens(PasskeyText::kQuestionLine) + num_text_tokens(PasskeyText::kBeforeAnswer) +
           PasskeyText::kMostDigits + num_text_tokens(PasskeyText::kAfterAnswer);
  }
  if (options.task == LongRangeTask::Passkey) return 1 + options.digits;
  return options.question_tokens == 0 ? kPairTokens * options.num_queries() : options.question_tokens;
}

/// Upper bound of the tokens that are neither filler nor question: longest key, most writes.
inline std::int64_t statement_tokens_of(const TaskOptions& options) {
  if (options.is_text()) {
    return num_text_tokens(PasskeyText::kTaskLine) + num_text_tokens(PasskeyText::kKeyBegins) +
           num_text_tokens(PasskeyText::kKeyRepeats) + num_text_tokens(PasskeyText::kKeyEnds) +
           2 * PasskeyText::kMostDigits + PasskeyText::kEndsOfLines;
  }
  if (options.task == LongRangeTask::Passkey) return 1 + options.digits;
  return kPairTokens * options.pairs * (options.task == LongRangeTask::Rewrite ? options.most_writes : 1);
}

/// Filler tokens that must lie between the last statement and the question.
inline std::int64_t least_filler_behind(const TaskOptions& options) {
  const std::int64_t ends_of_lines = options.is_text() ? PasskeyText::kEndsOfLines - 1 : 0;
  return std::max<std::int64_t>(options.outside_window - 1 - ends_of_lines, 0);
}

}  // namespace rondo

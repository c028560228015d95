// SPDX-License-Identifier: Apache-2.0
// Samples of a long-range task to a corpus: one document a sample, with its answers as the only targets. One sample is in memory
// at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "io/long_range_task.hpp"

namespace rondo {

struct TaskCorpusOptions {
  TaskOptions task;
  /// Not 0: samples of task.tokens, a half, a quarter, ... down to so many tokens, so many of a kind that they take up the place
  /// of one of the longest. Which places those are is drawn, so that there are equally many samples of every length.
  std::int64_t shortest_tokens = 0;
  std::int64_t num_samples = 0;  ///< for training, at least 1; where lengths are mixed, places of task.tokens tokens
  std::int64_t num_validation_samples = 0;
  std::string output;
};

/// One line of JSON with the task's options and shortest_tokens where there is one.
std::string to_json(const TaskCorpusOptions& options);

struct TaskCorpusResult {
  std::int64_t num_train_samples = 0, num_validation_samples = 0;
  std::int64_t num_train_targets = 0, num_validation_targets = 0;
  /// Of passkeys: the share of the validation part's that is in the training part too.
  double validation_passkeys_seen = 0;
};

/// @param progress called with how many of all `num_samples` and `num_validation_samples` are made, after every Mi of tokens or so;
///                 what it throws ends the preparation cleanly
/// Throws ConfigError or DataError, and then leaves no file behind.
TaskCorpusResult prepare_task_corpus(const TaskCorpusOptions& options,
                                     const std::function<void(std::int64_t done)>& progress);

}  // namespace rondo

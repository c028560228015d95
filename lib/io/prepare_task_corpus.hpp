// SPDX-License-Identifier: Apache-2.0
// Makes a corpus from samples of a long-range task: one document per sample, with its answers as the only targets. One sample
// is in memory at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "io/long_range_task.hpp"

namespace rondo {

struct TaskCorpusOptions {
  TaskOptions task;
  /// Not 0: samples of task.tokens, a half, a quarter, ... down to this many tokens. A place of task.tokens tokens holds
  /// samples of one length, which is drawn so that the expected number of samples is equal for every length.
  std::int64_t shortest_tokens = 0;
  std::int64_t num_samples = 0;  ///< for training, at least 1; with mixed lengths, places of task.tokens tokens
  std::int64_t num_validation_samples = 0;
  std::string output;
};

/// One line of JSON with the task's options, and shortest_tokens if it is not 0.
std::string to_json(const TaskCorpusOptions& options);

struct TaskCorpusResult {
  std::int64_t num_train_samples = 0, num_validation_samples = 0;
  std::int64_t num_train_targets = 0, num_validation_targets = 0;
  /// For passkeys: the fraction of the validation split's passkeys that also occur in the training split.
  double validation_passkeys_seen = 0;
};

/// @param progress  called about every Mi tokens with how many of `num_samples` + `num_validation_samples` are done; what it
///                  throws ends the preparation cleanly
/// Throws ConfigError or DataError, and then leaves no file behind.
TaskCorpusResult prepare_task_corpus(const TaskCorpusOptions& options,
                                     const std::function<void(std::int64_t done)>& progress);

}  // namespace rondo

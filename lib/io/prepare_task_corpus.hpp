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
  std::int64_t num_samples = 0;  ///< for training, at least 1
  std::int64_t num_validation_samples = 0;
  std::string output;
};

struct TaskCorpusResult {
  std::int64_t num_train_targets = 0, num_validation_targets = 0;
  /// Of passkeys: the share of the validation part's that is in the training part too.
  double validation_passkeys_seen = 0;
};

/// @param progress called with the number of samples made, after every MiB or so; what it throws ends the preparation cleanly
/// Throws ConfigError or DataError, and then leaves no file behind.
TaskCorpusResult prepare_task_corpus(const TaskCorpusOptions& options,
                                     const std::function<void(std::int64_t num_samples)>& progress);

}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
// `rondo eval --task`: how well a checkpoint's model answers test samples of a long-range task.
#pragma once

#include <string>

#include "apps/task_options.hpp"
#include "comm/communicator.hpp"

namespace rondo {

struct EvalTaskOptions {
  std::string checkpoint, device;
  int threads = 0;
  bool json = false;
  TaskArguments arguments;
  std::int64_t samples = 200, train_samples = 0;
  std::uint64_t seed = 0;
};

/// Adds --task and its options. @returns the option --task
CLI::Option* add_eval_task_options(CLI::App& command, EvalTaskOptions& options);
/// Collective. @returns the exit code
int evaluate_task(const Communicator& world, const CLI::App& command, EvalTaskOptions options);

}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
// --task and what describes its samples, as `prepare` and `eval` take them.
#pragma once

#include <string>
#include <vector>

#include "apps/options.hpp"
#include "io/long_range_task.hpp"

namespace rondo {

struct TaskArguments {
  std::string task;  // empty: none
  std::string filler = "noise";
  std::vector<double> depth;
  std::vector<std::int64_t> writes;
  TaskOptions options;
};

/// @returns the option --task, for others to need or to exclude. @pre `arguments` outlives the command
CLI::Option* add_task_options(CLI::App& command, TaskArguments& arguments);
/// What was asked for. Throws ConfigError for an option that goes with another task, and what check() finds.
TaskOptions task_options_of(const CLI::App& command, const TaskArguments& arguments);

}  // namespace rondo

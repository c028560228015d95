// SPDX-License-Identifier: Apache-2.0
// --task and the options that describe its samples, for `prepare` and `eval`.
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

/// @returns the option --task, which other options may require or exclude. @pre `arguments` outlives the command
CLI::Option* add_task_options(CLI::App& command, TaskArguments& arguments);
/// The requested task's options. Throws ConfigError for an option of another task, and what check() throws.
TaskOptions task_options_of(const CLI::App& command, const TaskArguments& arguments);

}  // namespace rondo

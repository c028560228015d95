// SPDX-License-Identifier: Apache-2.0
#include "apps/task_options.hpp"

#include <algorithm>
#include <initializer_list>
#include <string_view>

#include "core/error.hpp"

namespace rondo {

namespace {

struct TasksOfOption {
  std::string_view option;
  std::initializer_list<LongRangeTask> tasks;
};

std::string listed(std::initializer_list<LongRangeTask> tasks) {
  std::string names;
  for (const LongRangeTask task : tasks) names += (names.empty() ? "" : ", ") + std::string(name_of(task));
  return names;
}

void refuse_options_of_other_tasks(const CLI::App& command, LongRangeTask task) {
  using enum LongRangeTask;
  for (const auto& [option, tasks] : std::initializer_list<TasksOfOption>{{"--digits", {Passkey}},
                                                                          {"--filler", {Passkey, Recall, Rewrite}},
                                                                          {"--filler-ids", {Passkey, Recall, Rewrite}},
                                                                          {"--pairs", {Recall, Rewrite}},
                                                                          {"--queries", {Recall, Rewrite}},
                                                                          {"--question-tokens", {Recall, Rewrite}},
                                                                          {"--keys", {Recall, Rewrite}},
                                                                          {"--values", {Recall, Rewrite}},
                                                                          {"--writes", {Rewrite}}}) {
    const bool is_given = command.get_option(std::string(option))->count() > 0;
    if (!is_given || std::ranges::find(tasks, task) != tasks.end()) continue;
    throw ConfigError("the task " + std::string(name_of(task)) + " has no such option", std::string(option),
                      "it goes with: " + listed(tasks));
  }
}

}  // namespace

CLI::Option* add_task_options(CLI::App& command, TaskArguments& arguments) {
  TaskOptions& options = arguments.options;
  CLI::Option_group* group =
      command.add_option_group("long-range tasks", "samples whose answers were said long before");
  CLI::Option* task =
      group->add_option("--task", arguments.task, "passkey, passkey_text, recall or rewrite")->type_name("TASK");
  const auto add = [&](const std::string& name, auto& value, const std::string& text, const char* type) {
    group->add_option(name, value, text)->needs(task)->type_name(type);
  };
  add("--tokens", options.tokens, "tokens of every sample, 4096 if not given", "T");
  add("--outside-window", options.outside_window,
      "all that is said ends at least so many tokens before the question begins, 0 if not given", "W");
  group
      ->add_option("--depth", arguments.depth, "what is said begins behind these parts of the filler, 0 1 if not given")
      ->needs(task)
      ->expected(2)
      ->type_name("A B");
  add("--digits", options.digits, "passkey: digits of the key, 5 if not given", "D");
  add("--pairs", options.pairs, "recall, rewrite: different keys in a sample, 8 if not given", "N");
  add("--queries", options.queries, "recall, rewrite: how many of them are asked for, all if not given", "N");
  add("--question-tokens", options.question_tokens,
      "recall, rewrite: the last tokens, over which the questions are spread; 2 a question if not given", "N");
  group->add_option("--writes", arguments.writes, "rewrite: how often a key is written, 1 4 if not given")
      ->needs(task)
      ->expected(2)
      ->type_name("A B");
  add("--keys", options.keys, "recall, rewrite: ids of keys, 64 if not given", "N");
  add("--values", options.values, "recall, rewrite: ids of values, 64 if not given", "N");
  group
      ->add_option("--filler", arguments.filler,
                   "noise (random ids, if not given) or sentence (the same ids again and again)")
      ->needs(task)
      ->check(CLI::IsMember({"noise", "sentence"}))
      ->type_name("FILLER");
  add("--filler-ids", options.filler_ids, "ids of filler, 32 if not given; not of passkey_text", "N");
  return task;
}

TaskOptions task_options_of(const CLI::App& command, const TaskArguments& arguments) {
  TaskOptions options = arguments.options;
  options.task = long_range_task_from(arguments.task);
  refuse_options_of_other_tasks(command, options.task);
  options.filler = arguments.filler == "sentence" ? Filler::Sentence : Filler::Noise;
  if (arguments.depth.size() == 2) {
    options.depth_first = arguments.depth[0];
    options.depth_last = arguments.depth[1];
  }
  if (arguments.writes.size() == 2) {
    options.least_writes = arguments.writes[0];
    options.most_writes = arguments.writes[1];
  }
  check(options);
  return options;
}

}  // namespace rondo

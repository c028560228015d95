// SPDX-License-Identifier: Apache-2.0
#include "apps/options.hpp"

#include <limits>
#include <utility>

namespace rondo {

CLI::App* add_command(Program& program, CLI::App& parent, const CommandText& text, std::function<int()> action) {
  CLI::App* command = parent.add_subcommand(text.name, text.summary);
  command->footer("Example:\n  " + text.example);
  command->callback([&program, action = std::move(action)] { program.action = action; });
  return command;
}

CLI::App* add_group(Program& program, const CommandText& text) {
  CLI::App* group = program.app.add_subcommand(text.name, text.summary);
  group->footer("Example:\n  " + text.example);
  group->require_subcommand(1);
  return group;
}

void add_config_options(CLI::App& command, ConfigOptions& options) {
  command.add_option("config", options.path, "configuration file (TOML), see docs/reference/configuration.md")
      ->required()
      ->type_name("CONFIG");
  add_overrides(command, options.overrides);
}

void add_overrides(CLI::App& command, std::vector<std::string>& overrides) {
  command.add_option("--set", overrides, "override a key of the file; may be repeated")
      ->type_name("TABLE.KEY=VALUE")
      ->expected(1)
      ->take_all();
}

CLI::Validator names_something() {
  return CLI::Validator([](const std::string& name) { return name.empty() ? "names no file" : ""; }, "");
}

void add_json_option(CLI::App& command, bool& json) {
  command.add_flag("--json", json, "print one JSON document instead of text");
}

CLI::Option* add_seed_option(CLI::App& command, std::uint64_t& seed, const std::string& text) {
  const auto largest = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  return command.add_option("--seed", seed, text)->check(CLI::Range(std::uint64_t{0}, largest))->type_name("N");
}

}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
// Shared by the commands: how a command is declared, and options that several commands have.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace rondo {

/// The command line under construction; the chosen command stores its action here, and main runs it.
struct Program {
  CLI::App app;
  std::function<int()> action;  // returns the exit code, or throws Error
};

struct CommandText {
  std::string name;
  std::string summary;  // one line, for the list of commands
  std::string example;  // a command line that works as written
};

/// Declares a command whose `action` runs after the whole command line has been validated. `parent` is program.app, or a group
/// for two-word commands such as `rondo corpus info`.
CLI::App* add_command(Program& program, CLI::App& parent, const CommandText& text, std::function<int()> action);
/// Declares the first word of two-word commands.
CLI::App* add_group(Program& program, const CommandText& text);

/// CONFIG and --set, for every command that reads a configuration.
struct ConfigOptions {
  std::string path;
  std::vector<std::string> overrides;
};
void add_config_options(CLI::App& command, ConfigOptions& options);
/// --set alone.
void add_overrides(CLI::App& command, std::vector<std::string>& overrides);
/// For an option that names a file or folder: rejects an empty name, such as that of an unset shell variable.
CLI::Validator names_something();
void add_json_option(CLI::App& command, bool& json);
/// --seed with the range of train.seed, so that a seed of one command is valid for all. @param text  what it draws, and the
/// default
CLI::Option* add_seed_option(CLI::App& command, std::uint64_t& seed, const std::string& text);

}  // namespace rondo

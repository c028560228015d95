// SPDX-License-Identifier: Apache-2.0
// The program: one file per subcommand. Errors become exit codes here, or in apps/ranks.cpp for commands that run over ranks.
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fcntl.h>
#include <filesystem>
#include <new>
#include <string>
#include <unistd.h>
#include <vector>

#include "apps/commands.hpp"
#include "apps/ranks.hpp"
#include "comm/communicator.hpp"
#include "comm/mpi_session.hpp"
#include "config/spelling.hpp"
#include "core/error.hpp"
#include "core/utf8.hpp"
#include "kernels/cpu/isa.hpp"

namespace {

constexpr int kUsageError = 2;
constexpr int kOutOfMemory = 4;

void add_commands(rondo::Program& program) {
  rondo::add_prepare(program);
  rondo::add_corpus(program);
  rondo::add_train(program);
  rondo::add_attention(program);
  rondo::add_eval(program);
  rondo::add_generate(program);
  rondo::add_check(program);
  rondo::add_checkpoint(program);
  rondo::add_bench(program);
  rondo::add_config_reference(program);
}

// CLI11 would only report that a subcommand is required.
void refuse_unknown_command(const CLI::App& app, const std::string& word) {
  std::vector<std::string> known;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    known.push_back(command->get_name());
  }
  if (word.starts_with('-') || std::ranges::find(known, word) != known.end()) return;
  const auto meant = rondo::nearest_word(word, known);
  throw rondo::ConfigError("there is no command '" + word + "'", "",
                           meant ? "did you mean '" + *meant + "'?" : "`rondo --help` lists the commands");
}

// Reports CLI11's error in our format, with a hint to --help. If only the second word of a command is missing, prints its help.
int end_with_usage(const CLI::App& app, const CLI::ParseError& problem) {
  if (rondo::rank_at_launch() != 0) return kUsageError;  // all ranks have the same command line, and one reports
  const CLI::App* command = &app;
  std::string words = app.get_name();
  while (!command->get_subcommands().empty()) {
    command = command->get_subcommands().front();
    words += " " + command->get_name();
  }
  if (problem.get_name() == "RequiredError" && command->get_require_subcommand_min() > 0) {
    std::fputs(command->help().c_str(), stderr);
    return kUsageError;
  }
  throw rondo::ConfigError(problem.what(), words, "`" + words + " --help` explains it");
}

// For comparisons and tests: selects the kernels of an older processor than this one.
void limit_instruction_set() {
  const char* variable = "RONDO_MAX_CPU_ISA";
  const char* name = std::getenv(variable);
  if (name == nullptr) return;
  const auto isa = rondo::cpu::isa_named(name);
  if (!isa) {
    throw rondo::ConfigError("there is no instruction set '" + std::string(name) + "'", variable,
                             "use portable, avx2, avx512 or amx, or leave it unset");
  }
  rondo::cpu::limit_isa(*isa);
}

// If the program is started with one of these closed, a file that it opens would get that descriptor, and be printed to or read
// from. Opens a descriptor in its place that fails when it is used, as a closed one would.
void hold_standard_descriptors() {
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(descriptor, F_GETFD) != -1) continue;
    ::open("/dev/null", descriptor == STDIN_FILENO ? O_WRONLY : O_RDONLY);  // gets the lowest free descriptor
  }
}

int run_program(int argc, char** argv) {
  limit_instruction_set();
  rondo::Program program;
  CLI::App& app = program.app;
  app.name("rondo");
  app.description("Rondo trains transformers on sequences as long as the machines together can hold.");
  app.footer(
      "`rondo COMMAND --help` explains a command, with an example.\n"
      "Exit codes: 0 done, 1 internal error, 2 configuration or usage, 3 data, checkpoint or disk,\n"
      "4 device, memory or communication, 5 non-finite training, 75 stopped early and saved: run it again.");
  app.set_version_flag("--version", rondo::version_text);
  app.require_subcommand(1);
  add_commands(program);
  if (argc > 1) refuse_unknown_command(app, argv[1]);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& stop) {  // also --help and --version, which are not errors
    return stop.get_exit_code() == 0 ? app.exit(stop) : end_with_usage(app, stop);
  }
  return program.action();
}

}  // namespace

int main(int argc, char** argv) {
  hold_standard_descriptors();
  std::signal(SIGXFSZ, SIG_IGN);  // exceeding a limit on file sizes makes write() fail instead
  try {
    return run_program(argc, argv);
  } catch (const rondo::Error& error) {
    rondo::print_error(error);
    return rondo::exit_code(error.kind());
  } catch (const std::filesystem::filesystem_error&) {  // an error of the environment, from any call
    const rondo::Error error = rondo::error_at_hand();
    rondo::print_error(error);
    return rondo::exit_code(error.kind());
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "rondo: out of memory on this host\n  use more ranks, or smaller memory.*_chunk_tokens\n");
    return kOutOfMemory;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "rondo: internal error: %s\n", rondo::shown_as_utf8(error.what()).c_str());
    return rondo::exit_code(rondo::ErrorKind::Internal);
  }
}

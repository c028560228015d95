// SPDX-License-Identifier: Apache-2.0
// `rondo prepare`: makes a token corpus from text, JSON lines or FASTA, or from samples of a long-range task, with progress on
// stderr. Does not start MPI.
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <spdlog/fmt/fmt.h>

#include "apps/clean_stop.hpp"
#include "apps/commands.hpp"
#include "apps/figures.hpp"
#include "apps/live_progress.hpp"
#include "apps/prepare_inputs.hpp"
#include "apps/prepare_task.hpp"
#include "apps/task_options.hpp"
#include "core/error.hpp"
#include "core/log.hpp"
#include "io/prepare_corpus.hpp"
#include "io/split_evaluation.hpp"
#include "io/tokenizer.hpp"

namespace rondo {

namespace {

struct PrepareCommand {
  PrepareOptions prepare;
  std::string tokenizer;
  std::int64_t vocabulary = 0;
  std::string format = "auto";
  bool json = false, dry_run = false;
  TaskArguments task;
  std::int64_t samples = 0, validation_samples = 0, shortest_tokens = 0;
};

double megabytes(std::int64_t bytes) { return static_cast<double>(bytes) * 1e-6; }

/// Shows the progress of the preparation when it is due.
void show(LiveProgress& progress, const PrepareProgress& now) {
  if (!progress.is_due()) return;
  const double rate = static_cast<double>(now.num_input_bytes) / progress.elapsed_s();
  std::string line = fmt::format("prepare: {:.0f} MB", megabytes(now.num_input_bytes));
  if (now.total_input_bytes > 0) {
    const auto left_bytes = static_cast<double>(std::max<std::int64_t>(now.total_input_bytes - now.num_input_bytes, 0));
    line += fmt::format(" of {:.0f} MB ({:.0f} %), {:.0f} s left", megabytes(now.total_input_bytes),
                        100.0 * static_cast<double>(now.num_input_bytes) / static_cast<double>(now.total_input_bytes),
                        left_bytes / rate);
  }
  line += fmt::format(", {:.0f} MB/s, {:.1f} M tokens in {}", rate * 1e-6, static_cast<double>(now.num_tokens) * 1e-6,
                      counted(now.num_documents, "document"));
  progress.show(line);
}

void print_result(const PrepareCommand& command, const Tokenizer& tokenizer, const PrepareResult& result,
                  double elapsed_s) {
  if (command.json) {
    const nlohmann::ordered_json document{
        {"output", command.prepare.output},
        {"tokenizer", tokenizer.kind()},
        {"tokenizer_digest", tokenizer.digest()},
        {"vocabulary_size", tokenizer.vocabulary_size()},
        {"validation_rule", name_of(result.rule)},
        {"train", {{"tokens", result.num_train_tokens}, {"documents", result.num_train_documents}}},
        {"validation", {{"tokens", result.num_validation_tokens}, {"documents", result.num_validation_documents}}},
        {"files", result.num_files},
        {"left_out", result.num_left_out},
        {"input_bytes", result.num_input_bytes},
        {"empty_documents", result.num_empty_documents},
        {"replaced_symbols", result.num_replaced},
        {"seconds", elapsed_s}};
    std::printf("%s\n", document.dump(2, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
    return;
  }
  fmt::print("{}: tokenizer {}, {} ids\n", command.prepare.output, tokenizer.kind(), tokenizer.vocabulary_size());
  fmt::print("  train       {:>14} tokens in {}\n", result.num_train_tokens,
             counted(result.num_train_documents, "document"));
  fmt::print("  validation  {:>14} tokens in {}: {}\n", result.num_validation_tokens,
             counted(result.num_validation_documents, "document"), name_of(result.rule));
  fmt::print("  input       {:>14.1f} MB in {}, {:.1f} s, {:.0f} MB/s\n", megabytes(result.num_input_bytes),
             counted(result.num_files, "file"), elapsed_s,
             megabytes(result.num_input_bytes) / std::max(elapsed_s, 1e-3));
}

void warn(const PrepareCommand& command, const PrepareResult& result) {
  for (const std::string& warning : result.warnings) log::warning("{}", warning);
  if (result.num_empty_documents > 0)
    log::warning("left out: {}", counted(result.num_empty_documents, "empty document"));
  if (result.num_replaced > 0) log::warning("{} ambiguous codes were taken as N", result.num_replaced);
  if (command.prepare.validation == 0) return;
  if (const auto problem = evaluation_problem(TokenCorpus(command.prepare.output), Split::Validation)) {
    log::warning("training will have no validation loss: {}", problem->what());
  }
}

int prepare_text(PrepareCommand& command) {
  if (command.prepare.inputs.empty() || command.tokenizer.empty()) {
    throw ConfigError("needs inputs and a --tokenizer, or a --task", "rondo prepare",
                      "`rondo prepare --help` explains it");
  }
  command.prepare.format = input_format_from(command.format);
  const auto tokenizer = make_tokenizer(command.tokenizer, command.vocabulary);
  return run_with_clean_stop("prepare", [&] {
    LiveProgress progress;
    command.prepare.stop = stop_request();
    const PrepareResult result = prepare_corpus(command.prepare, *tokenizer, [&](const PrepareProgress& now) {
      stop_if_asked();
      show(progress, now);
    });
    warn(command, result);
    print_result(command, *tokenizer, result, progress.elapsed_s());
    return 0;
  });
}

int prepare(const CLI::App& app, PrepareCommand& command) {
  if (command.dry_run) {
    command.prepare.format = input_format_from(command.format);
    return show_inputs(command.prepare, command.json);
  }
  if (app.count("--output") == 0) {
    throw ConfigError("--output is required", "rondo prepare", "`rondo prepare --help` explains it");
  }
  if (command.task.task.empty()) return prepare_text(command);
  command.task.options.seed = command.prepare.seed;
  return prepare_task({.task = task_options_of(app, command.task),
                       .shortest_tokens = command.shortest_tokens,
                       .num_samples = command.samples,
                       .num_validation_samples = command.validation_samples,
                       .output = command.prepare.output},
                      command.json);
}

}  // namespace

void add_prepare(Program& program) {
  auto options = std::make_shared<PrepareCommand>();
  CLI::App* command = add_command(
      program, program.app,
      {"prepare", "Turn text, JSON lines or FASTA into a token corpus, or make one of a long-range task.",
       "rondo prepare books/ more.txt.gz --output corpus.h5 --tokenizer bytes\n"
       "  rondo prepare --task recall --samples 20000 --validation-samples 200 --tokens 4096 --output recall.h5"},
      [options, &program] { return prepare(*program.app.get_subcommand("prepare"), *options); });
  command
      ->add_option("input", options->prepare.inputs,
                   "files (plain or gzip), folders (every file in them, in path order), or - for standard input")
      ->type_name("INPUT");
  command->add_option("--output,-o", options->prepare.output, "the corpus to write, replaced only when all went well")
      ->type_name("FILE");
  command
      ->add_option("--tokenizer,-t", options->tokenizer,
                   "bytes: any text; dna: A C G T N; ids: integers made by another tokenizer; or a tokenizer file")
      ->type_name("bytes|dna|ids|FILE");
  command->add_option("--vocabulary", options->vocabulary, "with ids: how many different ids there are")
      ->type_name("N");
  command
      ->add_option(
          "--validation", options->prepare.validation,
          "share held out, 0.02 if not given: whole documents when there are 100 or more, else the last part of each")
      ->type_name("SHARE");
  add_seed_option(*command, options->prepare.seed, "draws the validation documents, or all samples; 0 if not given");
  command
      ->add_option("--format", options->format,
                   "auto (each by its content), text (a file is a document), jsonl (member `text`), fasta")
      ->type_name("FORMAT");
  CLI::Option* dry_run =
      command->add_flag("--dry-run", options->dry_run, "say what each input would be read as, and write nothing");
  CLI::Option* task = add_task_options(*command, options->task);
  task->excludes(dry_run);
  for (const char* of_text : {"input", "--tokenizer", "--vocabulary", "--validation", "--format"}) {
    task->excludes(command->get_option(of_text));
  }
  command
      ->add_option("--shortest", options->shortest_tokens,
                   "with --task: mix samples of S, 2 S, 4 S, ... --tokens tokens, equally many of each")
      ->needs(task)
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 40))
      ->type_name("S");
  command
      ->add_option("--samples", options->samples,
                   "with --task: samples to train on; with --shortest, shorter ones share the place of one of --tokens")
      ->needs(task)
      ->type_name("N");
  command
      ->add_option("--validation-samples", options->validation_samples, "with --task: samples held out, 0 if not given")
      ->needs(task)
      ->type_name("M");
  add_json_option(*command, options->json);
}

}  // namespace rondo

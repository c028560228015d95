// SPDX-License-Identifier: Apache-2.0
// `rondo prepare`: text, JSON lines or FASTA to a token corpus, with progress on stderr. Starts no MPI.
#include <chrono>
#include <csignal>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <signal.h>
#include <spdlog/fmt/fmt.h>

#include "apps/commands.hpp"
#include "apps/figures.hpp"
#include "apps/live_line.hpp"
#include "core/error.hpp"
#include "core/log.hpp"
#include "io/prepare_corpus.hpp"
#include "io/tokenizer.hpp"

namespace rondo {

namespace {

using Clock = std::chrono::steady_clock;

struct PrepareCommand {
  PrepareOptions prepare;
  std::string tokenizer;
  std::int64_t vocabulary = 0;
  std::string format = "auto";
  bool json = false;
};

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }
double megabytes(std::int64_t bytes) { return static_cast<double>(bytes) * 1e-6; }

/// One line on stderr: rewritten in place on a terminal, a new one every few seconds elsewhere.
class ProgressLine {
 public:
  void show(const PrepareProgress& now) {
    const double elapsed_s = seconds_since(start_);
    if (elapsed_s < next_s_) return;
    next_s_ = elapsed_s + interval_s_;
    const double rate = static_cast<double>(now.num_input_bytes) / elapsed_s;
    std::string line = fmt::format("prepare: {:.0f} MB", megabytes(now.num_input_bytes));
    if (now.total_input_bytes > 0) {
      const auto left_bytes =
          static_cast<double>(std::max<std::int64_t>(now.total_input_bytes - now.num_input_bytes, 0));
      line += fmt::format(" of {:.0f} MB ({:.0f} %), {:.0f} s left", megabytes(now.total_input_bytes),
                          100.0 * static_cast<double>(now.num_input_bytes) / static_cast<double>(now.total_input_bytes),
                          left_bytes / rate);
    }
    line += fmt::format(", {:.0f} MB/s, {:.1f} M tokens in {}", rate * 1e-6, static_cast<double>(now.num_tokens) * 1e-6,
                        counted(now.num_documents, "document"));
    live_.show(line);
    if (!live_.is_on_terminal()) std::fprintf(stderr, "%s\n", line.c_str());
  }

 private:
  Clock::time_point start_ = Clock::now();
  LiveLine live_;
  double interval_s_ = live_.is_on_terminal() ? 0.2 : 5.0;
  double next_s_ = live_.is_on_terminal() ? 0.5 : 5.0;
};

volatile std::sig_atomic_t stop_signal = 0;

/// Thrown out of the progress call, so that the unfinished file is removed before the signal takes its course.
struct Stopped {};

/// The first SIGINT, SIGTERM or SIGHUP stops cleanly, a second one at once.
void catch_signals() {
  struct sigaction action {};
  action.sa_handler = [](int signal) { stop_signal = signal; };
  action.sa_flags = static_cast<int>(SA_RESETHAND | SA_RESTART);
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) sigaction(signal, &action, nullptr);
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
  if (result.num_empty_documents > 0)
    log::warning("left out: {}", counted(result.num_empty_documents, "empty document"));
  if (result.num_replaced > 0) log::warning("{} ambiguous codes were taken as N", result.num_replaced);
  if (command.prepare.validation > 0 && result.num_validation_tokens == 0) {
    log::warning("the validation part is empty: the documents are too short for a share of {}",
                 command.prepare.validation);
  }
}

int prepare(PrepareCommand& command) {
  command.prepare.format = input_format_from(command.format);
  const auto tokenizer = make_tokenizer(command.tokenizer, command.vocabulary);
  catch_signals();
  const auto start = Clock::now();
  try {
    const PrepareResult result = [&] {
      ProgressLine line;
      return prepare_corpus(command.prepare, *tokenizer, [&line](const PrepareProgress& now) {
        if (stop_signal != 0) throw Stopped{};
        line.show(now);
      });
    }();
    warn(command, result);
    print_result(command, *tokenizer, result, seconds_since(start));
  } catch (const Stopped&) {
    std::fprintf(stderr, "prepare: stopped by a signal, nothing was written\n");
    std::signal(stop_signal, SIG_DFL);
    std::raise(stop_signal);
  }
  return 0;
}

}  // namespace

void add_prepare(Program& program) {
  auto options = std::make_shared<PrepareCommand>();
  CLI::App* command = add_command(program, program.app,
                                  {"prepare", "Turn text, JSON lines or FASTA into a token corpus.",
                                   "rondo prepare books/ more.txt.gz --output corpus.h5 --tokenizer bytes"},
                                  [options] { return prepare(*options); });
  command
      ->add_option("input", options->prepare.inputs,
                   "files (plain or gzip), folders (every file in them, in path order), or - for standard input")
      ->required()
      ->type_name("INPUT");
  command->add_option("--output,-o", options->prepare.output, "the corpus to write, replaced only when all went well")
      ->required()
      ->type_name("FILE");
  command
      ->add_option("--tokenizer,-t", options->tokenizer,
                   "bytes: any text; dna: A C G T N; ids: integers made by another tokenizer; or a tokenizer file")
      ->required()
      ->type_name("bytes|dna|ids|FILE");
  command->add_option("--vocabulary", options->vocabulary, "with ids: how many different ids there are")
      ->type_name("N");
  command
      ->add_option(
          "--validation", options->prepare.validation,
          "share held out, 0.02 if not given: whole documents when there are 100 or more, else the last part of each")
      ->type_name("SHARE");
  command->add_option("--seed", options->prepare.seed, "draws the validation documents, 0 if not given")
      ->type_name("N");
  command
      ->add_option("--format", options->format,
                   "auto (by name and content), text (a file is a document), jsonl (member `text`), fasta")
      ->type_name("FORMAT");
  add_json_option(*command, options->json);
}

}  // namespace rondo

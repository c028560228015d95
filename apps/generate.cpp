// SPDX-License-Identifier: Apache-2.0
// `rondo generate`: continues a text with a checkpoint's model and streams it to standard output. Several ranks share the
// prefill; rank 0 decodes alone.
#include <chrono>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <spdlog/fmt/fmt.h>

#include "apps/commands.hpp"
#include "apps/stored_model_options.hpp"
#include "core/log.hpp"
#include "infer/generator.hpp"
#include "infer/stream_file.hpp"
#include "infer/utf8_stream.hpp"
#include "io/byte_stream.hpp"
#include "runtime/runtime.hpp"

namespace rondo {

namespace {

struct GenerateOptions {
  std::string checkpoint;
  std::optional<std::string> prompt, prompt_file, state_in, state_out;
  std::int64_t num_tokens = 256;
  SamplingRule sampling;
  std::uint64_t seed = 1;
  std::string device = "auto";
  int threads = 0;
  bool json = false;
};

constexpr std::size_t kPromptPieceBytes = std::size_t{1} << 16;
constexpr std::size_t kMostPromptBytes = std::size_t{1} << 30;

std::string read_prompt(const std::string& path) {
  const auto source = open_file_source(path);
  std::string text;
  for (std::size_t size = 0;; size = text.size()) {
    text.resize(size + kPromptPieceBytes);
    text.resize(size + source->read(text.data() + size, kPromptPieceBytes));
    if (text.size() == size) return text;
    if (text.size() > kMostPromptBytes) {
      throw DataError("the prompt has more than " + std::to_string(kMostPromptBytes) + " bytes", display_name(path),
                      "give a shorter text, piece by piece with --state-out and --state-in");
    }
  }
}

std::string prompt_of(const GenerateOptions& options) {
  if (options.prompt) return *options.prompt;
  if (options.prompt_file) return read_prompt(*options.prompt_file);
  if (options.state_in) return {};
  throw ConfigError("there is nothing to continue", "",
                    "give a text with --prompt or --prompt-file, or a state with --state-in");
}

// Throws if there are no tokens, unless --state-in gives a state to continue from.
std::vector<std::int32_t> tokens_of(const std::string& prompt, const Tokenizer& tokenizer,
                                    const GenerateOptions& options) {
  const std::string where = options.prompt_file ? "--prompt-file " + *options.prompt_file : "--prompt";
  std::vector<std::int32_t> tokens;
  try {
    tokens = tokenizer.encode(prompt);
  } catch (const DataError& error) {
    throw ConfigError(error.message(), where + ": " + error.where(),
                      "the model was trained with the tokenizer " + std::string(tokenizer.kind()));
  }
  if (!tokens.empty() || options.state_in) return tokens;
  if (prompt.empty()) throw ConfigError("the prompt is empty", where, "give at least one character to go on from");
  throw ConfigError("the prompt has no tokens", where,
                    "the model was trained with the tokenizer " + std::string(tokenizer.kind()) +
                        ", which passes over all characters of this prompt");
}

// Writes text immediately. @returns false if the output's reader is gone
bool show(const std::string& text) {
  return std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0;
}

constexpr std::int64_t kPrefillTokens = 512;  // per rank, at a time

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

struct Seconds {
  double prefill = 0, generation = 0;
};

void print_json(const std::string& prompt, const std::string& text, const std::vector<std::int32_t>& prompt_tokens,
                const std::vector<std::int32_t>& tokens, const Seconds& seconds, const GenerateOptions& options,
                const StoredModelInfo& model) {
  const nlohmann::ordered_json document{{"checkpoint", model.folder.string()},
                                        {"step", model.step},
                                        {"prompt", prompt},
                                        {"text", text},
                                        {"prompt_tokens", prompt_tokens},
                                        {"tokens", tokens},
                                        {"temperature", options.sampling.temperature},
                                        {"top_k", options.sampling.top_k},
                                        {"top_p", options.sampling.top_p},
                                        {"seed", options.seed},
                                        {"prefill_seconds", seconds.prefill},
                                        {"seconds", seconds.generation},
                                        {"tokens_per_second", static_cast<double>(tokens.size()) / seconds.generation}};
  std::printf("%s\n", document.dump(2, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
}

// An execution for one rank of a runtime alone, on the same device.
class RankAlone {
 public:
  explicit RankAlone(Execution& e)
      : transport_(make_self_transport(e.device)),
        execution_{e.device, e.backend, e.compute, e.scratch, Ring{*transport_, e.compute}} {}
  Execution& execution() { return execution_; }

 private:
  std::unique_ptr<Transport> transport_;
  Execution execution_;
};

// Prefill: feeds the prompt to rank 0's stream. Several ranks share all but the last token.
void prefill(Runtime& runtime, StoredModel& model, std::span<const std::int32_t> prompt,
             const SequenceStreamOptions& options, SequenceStream& alone) {
  const int ranks = runtime.world().size();
  if (ranks > 1 && static_cast<std::int64_t>(prompt.size()) > ranks) {
    SequenceStream together(runtime.execution(), model.transformer(), options);
    together.copy_from(alone);
    together.feed(prompt.first(prompt.size() - 1));
    alone.copy_from(together);
    prompt = prompt.last(1);
  }
  if (runtime.world().rank() == 0) alone.feed(prompt);
}

// The output for --state-out, on rank 0; otherwise nothing.
std::optional<OutputFile> check_state_out(const Communicator& world, const GenerateOptions& options) {
  std::optional<OutputFile> output;
  agree_on(world, [&] {
    if (world.rank() != 0 || !options.state_out) return;
    std::vector<std::string> inputs;
    for (const auto& input : {options.prompt_file, options.state_in}) {
      if (input) inputs.push_back(*input);
    }
    output.emplace(OutputRequest{*options.state_out, "--state-out", StreamFile::kind(), inputs});
  });
  return output;
}

int generate(const Communicator& world, const GenerateOptions& options) {
  agree_on(world, [&] { check(options.sampling); });
  std::optional<OutputFile> state_out = check_state_out(world, options);
  // the launcher gives standard input to rank 0
  std::string prompt;
  agree_on(world, [&] {
    if (world.rank() == 0) prompt = prompt_of(options);
  });
  prompt = world.broadcast(prompt);
  const StoredModelInfo info = read_model_info(find_checkpoint(world, options.checkpoint));
  if (world.size() > 1 && info.config.model.has_exact_layers()) {
    agree(world, ConfigError("a model with exact attention processes a prompt on one rank, but " +
                                 std::to_string(world.size()) + " were started",
                             "", "start `rondo generate` without mpirun"));
  }
  std::vector<std::int32_t> prompt_tokens;
  StreamFile::Record begun;
  agree_on(world, [&] {
    prompt_tokens = tokens_of(prompt, *info.tokenizer, options);
    if (options.state_in) begun = StreamFile::read_record(*options.state_in, info.model_digest);
  });
  Runtime runtime(world, {.device = device_for(options.device, info), .threads = options.threads});
  if (world.rank() == 0) log::info("{} at step {}, {}", info.folder.string(), info.step, runtime.description());
  StoredModel model(runtime.execution(), world, info);
  RankAlone rank(runtime.execution());
  Transformer transformer = model.transformer_in(rank.execution());

  const auto start = std::chrono::steady_clock::now();
  const SequenceStreamOptions stream_options{
      .rule = info.mask_rule(),
      .chunk_tokens = kPrefillTokens * world.size(),
      .capacity_tokens = begun.num_tokens + static_cast<std::int64_t>(prompt_tokens.size()) + options.num_tokens};
  SequenceStream stream(rank.execution(), transformer, stream_options);
  agree_on(world, [&] {
    if (state_out) state_out->require_room(StreamFile::num_bytes(stream));
    if (options.state_in) StreamFile::read(*options.state_in, info.model_digest, stream);
  });
  if (!prompt_tokens.empty()) prefill(runtime, model, prompt_tokens, stream_options, stream);
  const double prefill_s = seconds_since(start);
  if (world.rank() != 0) return 0;

  Generator generator(rank.execution(), transformer, *info.tokenizer,
                      {.sampling = options.sampling, .seed = options.seed, .rule = info.mask_rule()});
  Utf8Stream shown;
  std::string text;
  std::vector<std::int32_t> tokens;
  generator.go_on(stream, begun.num_drawn, options.num_tokens, [&](std::int32_t token) {
    tokens.push_back(token);
    const std::string piece = info.tokenizer->decode({&token, 1});
    text += piece;
    return options.json || show(shown.push(piece));
  });
  const double seconds = seconds_since(start) - prefill_s;
  if (state_out) {
    stream.feed({&tokens.back(), 1});
    StreamFile::write(*state_out, stream, info.model_digest,
                      begun.num_drawn + static_cast<std::int64_t>(tokens.size()));
  }
  if (options.json) {
    print_json(prompt, text, prompt_tokens, tokens, {prefill_s, seconds}, options, info);
  } else {
    show(shown.finish() + "\n");
    log::info("{} tokens after a prompt of {} ({:.1f} s), {:.1f} tokens per second; state of {:.1f} KiB", tokens.size(),
              prompt_tokens.size(), prefill_s, static_cast<double>(tokens.size()) / seconds,
              static_cast<double>(stream.state_bytes()) / 1024);
  }
  return 0;
}

}  // namespace

void add_generate(Program& program) {
  auto options = std::make_shared<GenerateOptions>();
  CLI::App* command = add_command(
      program, program.app,
      {"generate", "Continue a text with a checkpoint's model.",
       "rondo generate --checkpoint runs/first --prompt 'Once upon a time' --temperature 0.8 --top-p 0.95"},
      [options] {
        return run_where_started([options](const Communicator& world) { return generate(world, *options); });
      });
  add_checkpoint_option(*command, options->checkpoint);
  CLI::Option_group* prompt = command->add_option_group("prompt", "what is to be continued");
  prompt->add_option("--prompt", options->prompt, "the text itself")->type_name("TEXT");
  prompt->add_option("--prompt-file", options->prompt_file, "a file with the text, or - for standard input")
      ->check(names_something())
      ->type_name("FILE");
  prompt->require_option(0, 1);
  command
      ->add_option("--state-in", options->state_in,
                   "go on behind a text whose state --state-out has kept; the prompt, if any, follows it")
      ->check(names_something())
      ->type_name("FILE");
  command->add_option("--state-out", options->state_out, "keep the state behind the new text in a file")
      ->type_name("FILE");
  command->add_option("--tokens", options->num_tokens, "how many new tokens; 256 if not given")
      ->check(CLI::Range(1, 1 << 24))
      ->type_name("N");
  command->add_option("--temperature", options->sampling.temperature,
                      "0 always takes the likeliest token; 1, the model's own distribution, if not given");
  command->add_option("--top-k", options->sampling.top_k, "draw from the K likeliest only; 0, all, if not given")
      ->type_name("K");
  command->add_option("--top-p", options->sampling.top_p, "draw from the likeliest that together have probability P")
      ->type_name("P");
  add_seed_option(*command, options->seed, "the same seed gives the same text; 1 if not given");
  add_machine_options(*command, options->device, options->threads);
  add_json_option(*command, options->json);
}

}  // namespace rondo

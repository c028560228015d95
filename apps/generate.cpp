// SPDX-License-Identifier: Apache-2.0
// `rondo generate`: continues a prompt with a checkpoint's model, shown as it comes.
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <spdlog/fmt/fmt.h>

#include "apps/commands.hpp"
#include "apps/stored_model_options.hpp"
#include "core/log.hpp"
#include "infer/generator.hpp"
#include "infer/utf8_stream.hpp"
#include "runtime/runtime.hpp"

namespace rondo {

namespace {

struct GenerateOptions {
  std::string checkpoint;
  std::optional<std::string> prompt;
  std::string prompt_file;
  std::int64_t num_tokens = 256;
  SamplingRule sampling;
  std::uint64_t seed = 1;
  std::string device = "auto";
  int threads = 0;
  bool json = false;
};

std::string prompt_of(const GenerateOptions& options) {
  if (options.prompt) return *options.prompt;
  const std::string name = options.prompt_file == "-" ? "/dev/stdin" : options.prompt_file;
  std::ifstream file(name, std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (!file.is_open() || file.bad())
    throw DataError("the prompt cannot be read", options.prompt_file, "give a file with --prompt-file, or - for stdin");
  return text;
}

std::vector<std::int32_t> tokens_of(const std::string& prompt, const Tokenizer& tokenizer,
                                    const GenerateOptions& options) {
  const std::string where = options.prompt ? "--prompt" : "--prompt-file " + options.prompt_file;
  if (prompt.empty()) throw ConfigError("the prompt is empty", where, "give at least one character to go on from");
  try {
    return tokenizer.encode(prompt);
  } catch (const DataError& error) {
    throw ConfigError(error.message(), where + ": " + error.where(),
                      "the model was trained with the tokenizer " + std::string(tokenizer.kind()));
  }
}

// Shows text as it comes; where a reader has gone away, there is nobody to write for.
bool show(const std::string& text) {
  return std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0;
}

void print_json(const std::string& prompt, const std::string& text, const std::vector<std::int32_t>& prompt_tokens,
                const std::vector<std::int32_t>& tokens, double seconds, const GenerateOptions& options,
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
                                        {"seconds", seconds},
                                        {"tokens_per_second", static_cast<double>(tokens.size()) / seconds}};
  std::printf("%s\n", document.dump(2, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
}

int generate(const Communicator& world, const GenerateOptions& options) {
  agree_on(world, [&] {
    check(options.sampling);
    if (world.size() > 1) {
      throw ConfigError("text is generated on one rank, but " + std::to_string(world.size()) + " were started", "",
                        "start `rondo generate` without mpirun");
    }
  });
  const std::string prompt = prompt_of(options);
  const StoredModelInfo info = read_model_info(find_checkpoint(world, options.checkpoint));
  const std::vector<std::int32_t> prompt_tokens = tokens_of(prompt, *info.tokenizer, options);
  Runtime runtime(world, {.device = device_for(options.device, info), .threads = options.threads});
  log::info("{} at step {}, {}", info.folder.string(), info.step, runtime.description());
  StoredModel model(runtime.execution(), world, info);
  Generator generator(runtime.execution(), model.transformer(), *info.tokenizer,
                      {.sampling = options.sampling, .seed = options.seed, .rule = info.mask_rule()});

  const auto start = std::chrono::steady_clock::now();
  Utf8Stream stream;
  std::string text;
  std::vector<std::int32_t> tokens;
  generator.generate(prompt_tokens, options.num_tokens, [&](std::int32_t token) {
    tokens.push_back(token);
    const std::string piece = info.tokenizer->decode({&token, 1});
    text += piece;
    return options.json || show(stream.push(piece));
  });
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (options.json) {
    print_json(prompt, text, prompt_tokens, tokens, seconds, options, info);
  } else {
    show(stream.finish() + "\n");
    log::info("{} tokens after a prompt of {}, {:.1f} tokens a second", tokens.size(), prompt_tokens.size(),
              static_cast<double>(tokens.size()) / seconds);
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
      ->type_name("FILE");
  prompt->require_option(1);
  command->add_option("--tokens", options->num_tokens, "how many new tokens; 256 if not given")
      ->check(CLI::Range(1, 1 << 24))
      ->type_name("N");
  command->add_option("--temperature", options->sampling.temperature,
                      "0 always takes the likeliest token; 1, the model's own distribution, if not given");
  command->add_option("--top-k", options->sampling.top_k, "draw from the K likeliest only; 0, all, if not given")
      ->type_name("K");
  command->add_option("--top-p", options->sampling.top_p, "draw from the likeliest that together have probability P")
      ->type_name("P");
  command->add_option("--seed", options->seed, "the same seed gives the same text; 1 if not given")->type_name("SEED");
  add_machine_options(*command, options->device, options->threads);
  add_json_option(*command, options->json);
}

}  // namespace rondo

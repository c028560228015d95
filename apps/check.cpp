// SPDX-License-Identifier: Apache-2.0
// `rondo check`: reports everything that is wrong with a configuration, or what it will cost, without MPI or a GPU.
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <spdlog/fmt/fmt.h>

#include "apps/commands.hpp"
#include "apps/figures.hpp"
#include "apps/run_start.hpp"
#include "config/load.hpp"
#include "config/print.hpp"
#include "config/resolve.hpp"
#include "core/utf8.hpp"
#include "plan/cost_estimate.hpp"
#include "runtime/runtime.hpp"
#include "train/validation.hpp"

namespace rondo {

namespace {

constexpr int kBroken = 2;

struct CheckOptions {
  ConfigOptions config;
  int ranks = 1;
  std::string device;
  bool json = false;
};

void print_problems(const std::vector<Problem>& problems, bool json) {
  if (json) {
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const Problem& problem : problems) {
      list.push_back(
          {{"where", problem.where}, {"keys", problem.keys}, {"message", problem.message}, {"fix", problem.fix}});
    }
    const nlohmann::ordered_json document{{"valid", false}, {"problems", list}};
    std::printf("%s\n", document.dump(2, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
    return;
  }
  for (const Problem& problem : problems) std::fprintf(stderr, "%s\n", shown_as_utf8(to_string(problem)).c_str());
  std::fprintf(stderr, "%zu problem%s\n", problems.size(), problems.size() == 1 ? "" : "s");
}

nlohmann::ordered_json memory_by_use(const MemoryEstimate& memory) {
  nlohmann::ordered_json by_use;
  for (std::size_t i = 0; i < memory.size(); ++i) {
    if (memory[i] > 0) by_use[std::string(name_of(static_cast<MemoryUse>(i)))] = memory[i];
  }
  return by_use;
}

void print_json(const RunConfig& config, const CostEstimate& cost, const std::vector<std::string>& warnings,
                const CheckOptions& options) {
  const nlohmann::ordered_json document{
      {"valid", true},
      {"warnings", warnings},
      {"ranks", options.ranks},
      {"parameters", cost.num_parameters},
      {"tokens_per_step", cost.tokens_per_step},
      {"tokens", cost.tokens_per_step * config.train.steps},
      {"train_flops_per_token", cost.flops_per_token},
      {"computed_flops_per_token", cost.computed_flops_per_token},
      {"sent_bytes_per_step_per_rank", cost.sent_bytes_per_step},
      {"messages_per_step_per_rank", cost.messages_per_step},
      {"checkpoint_bytes", cost.checkpoint_bytes},
      {"memory_bytes_per_rank", cost.memory_total_bytes},
      {"memory_bytes_by_use", memory_by_use(cost.memory_bytes)},
      {"config", nlohmann::ordered_json::parse(to_json(config))},
  };
  std::printf("%s\n", document.dump(2).c_str());
}

// Null if the corpus does not exist yet, so that a configuration can be checked before it is prepared.
std::unique_ptr<TokenCorpus> open_corpus(const DataConfig& data) {
  if (!std::filesystem::exists(data.corpus)) {
    std::fprintf(stderr, "note: there is no corpus %s yet, so its vocabulary and length are not checked\n",
                 shown_as_utf8(data.corpus).c_str());
    return nullptr;
  }
  auto corpus = std::make_unique<TokenCorpus>(data.corpus);
  require_training_data(*corpus, data);
  return corpus;
}

// What a run would only warn about.
std::vector<std::string> warnings_about(const RunConfig& config, const TokenCorpus& corpus) {
  const auto problem = validation_problem(corpus, config);
  if (!problem) return {};
  return {std::string("a run trains without validation: ") + problem->what()};
}

// Prints the resolved configuration as a configuration file, with the figures as comments.
void print_text(const RunConfig& config, const CostEstimate& cost, const TokenCorpus* corpus,
                const CheckOptions& options) {
  const auto tokens = static_cast<double>(cost.tokens_per_step);
  const int ring = config.parallel.ring;
  std::string text = to_toml(config);
  const auto line = [&text](std::string_view name, const std::string& figure) {
    text += fmt::format("# {:<20}{}\n", name, figure);
  };
  text += fmt::format("\n# {} is valid\n", options.config.path);
  line("ranks", fmt::format("{} = data {} x ring {}", options.ranks, options.ranks / ring, ring));
  line("parameters", figure_text(static_cast<double>(cost.num_parameters)));
  line("tokens per step", fmt::format("{}", cost.tokens_per_step));
  line("tokens in all", figure_text(tokens * static_cast<double>(config.train.steps)));
  if (corpus != nullptr) {
    const std::int64_t train_tokens = corpus->num_tokens(Split::Train);
    const double passes = tokens * static_cast<double>(config.train.steps) / static_cast<double>(train_tokens);
    line("corpus", fmt::format("{} tokens, read {:.3g} times", train_tokens, passes));
  }
  line("arithmetic", figure_text(cost.flops_per_token, "FLOP") + " per token, " +
                         figure_text(cost.flops_per_token * tokens, "FLOP") + " per step");
  line("  with recompute", figure_text(cost.computed_flops_per_token, "FLOP") + " per token");
  if (options.ranks > 1) {
    line("sent per rank",
         fmt::format("{} per step in {} messages", bytes_text(static_cast<std::int64_t>(cost.sent_bytes_per_step)),
                     figure_text(cost.messages_per_step)));
  }
  line("one checkpoint", bytes_text(cost.checkpoint_bytes));
  line("memory per rank", bytes_text(cost.memory_total_bytes) + " at its peak, estimated; the peaks by use:");
  const nlohmann::ordered_json by_use = memory_by_use(cost.memory_bytes);
  for (const auto& [use, bytes] : by_use.items()) line("  " + use, bytes_text(bytes.get<std::int64_t>()));
  std::fputs(text.c_str(), stdout);
}

// Throws what `rondo train` would throw.
void print_cost(const ConfigDraft& draft, const CheckOptions& options) {
  const std::unique_ptr<TokenCorpus> corpus = open_corpus(draft.config.data);
  const RunConfig config = resolve(draft.config, {.world_size = options.ranks,
                                                  .vocabulary_size = corpus ? corpus->vocabulary_size() : 0,
                                                  .has_bf16_units = cpu_has_bf16_matrix_units()});
  require_transport({.device = config.parallel.device, .transport = config.parallel.transport});
  if (config.model.vocabulary_size == 0) {
    std::fprintf(stderr, "note: model.vocabulary_size is not known, so the figures leave out embedding and head\n");
  }
  std::vector<std::string> warnings;
  if (corpus) warnings = warnings_about(config, *corpus);
  for (const std::string& warning : warnings) std::fprintf(stderr, "warning: %s\n", warning.c_str());
  const std::int64_t validation_tokens = corpus ? corpus->num_tokens(Split::Validation) : config.data.sequence_length;
  const CostEstimate cost =
      estimate_cost(config, {.world_size = options.ranks, .validation_tokens = validation_tokens});
  options.json ? print_json(config, cost, warnings, options) : print_text(config, cost, corpus.get(), options);
}

int check(const CheckOptions& options) {
  std::vector<std::string> overrides = options.config.overrides;
  if (!options.device.empty()) overrides.push_back("parallel.device=" + options.device);
  const ConfigDraft draft = draft_config(options.config.path, overrides);
  const std::vector<Problem> problems = all_problems(draft, options.ranks);
  if (!problems.empty()) {
    print_problems(problems, options.json);
    return kBroken;
  }
  try {
    print_cost(draft, options);
    return 0;
  } catch (const Error& error) {  // an error of the corpus or the machine
    if (!options.json) throw;
    print_problems({{{}, error.message(), error.advice(), error.where()}}, true);
    return exit_code(error.kind());
  }
}

}  // namespace

void add_check(Program& program) {
  auto options = std::make_shared<CheckOptions>();
  CLI::App* command = add_command(program, program.app,
                                  {"check", "Validate a configuration without running it, and say what it costs.",
                                   "rondo check configs/tiny.toml --ranks 2 --set train.steps=100"},
                                  [options] { return check(*options); });
  add_config_options(*command, options->config);
  command->add_option("--ranks", options->ranks, "MPI ranks that will run it, 1 if not given")
      ->check(CLI::Range(1, 1 << 20))
      ->type_name("R");
  command->add_option("--device", options->device, "as parallel.device: auto, cpu, cuda or reference")
      ->type_name("DEVICE");
  add_json_option(*command, options->json);
}

}  // namespace rondo

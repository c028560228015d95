// SPDX-License-Identifier: Apache-2.0
// `rondo eval`: the loss of a checkpoint's model on a corpus, in total and by position, or its answers to a long-range task.
#include <chrono>
#include <cmath>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <spdlog/fmt/fmt.h>

#include "apps/commands.hpp"
#include "apps/eval_task.hpp"
#include "apps/stored_model_options.hpp"
#include "core/log.hpp"
#include "infer/stored_model.hpp"
#include "infer/token_loss_file.hpp"

namespace rondo {

namespace {

struct EvalOptions {
  std::string checkpoint, corpus, split = "validation";
  std::optional<std::string> per_token;
  std::int64_t sequence_length = 0, sequences = 0;  // 0: as in training; 0: all
  std::string device = "auto", layout = "auto";
  int threads = 0, ring = 0;
  bool json = false;
  EvalTaskOptions task;
};

// Everything that is read before the model is allocated.
struct EvalInput {
  StoredModelInfo model;
  std::unique_ptr<TokenCorpus> corpus;
};

EvalInput open_input(const Communicator& world, const EvalOptions& options) {
  const std::filesystem::path folder = find_checkpoint(world, options.checkpoint);
  EvalInput input;
  agree_on(world, [&] {
    input.model = read_model_info(folder);
    input.corpus = std::make_unique<TokenCorpus>(options.corpus);
    const std::string& of_corpus = input.corpus->tokenizer_digest();
    if (of_corpus != input.model.tokenizer_digest) {
      throw DataError(fmt::format("the corpus has another tokenizer than the checkpoint: {} ({}) in {}, {} ({}) in {}",
                                  input.corpus->tokenizer().kind(), of_corpus, options.corpus,
                                  input.model.tokenizer->kind(), input.model.tokenizer_digest, folder.string()),
                      options.corpus, "prepare the text with the tokenizer that the model was trained with");
    }
  });
  return input;
}

EvaluationData data_of(const EvalOptions& options, const EvalInput& input) {
  const DataConfig& trained = input.model.config.data;
  return {.corpus = *input.corpus,
          .split = options.split == "train" ? Split::Train : Split::Validation,
          .sequence_length = options.sequence_length > 0 ? options.sequence_length : trained.sequence_length,
          .isolate_documents = trained.isolate_documents};
}

LayoutKind layout_of(const EvalOptions& options, const StoredModelInfo& model) {
  if (options.layout != "auto") return layout_kind_from(options.layout);
  return model.config.model.has_memory() ? LayoutKind::Contiguous : balancing_layout(true, model.config.model.window);
}

void print_json(const EvalOptions& options, const EvalInput& input, const EvaluationData& data,
                const EvaluationResult& result, int num_ranks, double seconds) {
  const std::string unit(input.corpus->tokenizer().unit());
  nlohmann::ordered_json buckets = nlohmann::ordered_json::array();
  for (const LossBucket& bucket : result.by_position) {
    buckets.push_back({{"first_position", bucket.first_position},
                       {"end_position", bucket.end_position},
                       {"targets", bucket.num_targets},
                       {"loss", bucket.num_targets > 0 ? nlohmann::ordered_json(bucket.loss) : nullptr}});
  }
  const nlohmann::ordered_json document{{"checkpoint", input.model.folder.string()},
                                        {"step", input.model.step},
                                        {"corpus", options.corpus},
                                        {"split", name_of(data.split)},
                                        {"sequence_length", data.sequence_length},
                                        {"ranks", num_ranks},
                                        {"sequences", result.num_sequences},
                                        {"targets", result.num_targets},
                                        {"tokens_left_out", result.num_tokens_left_out},
                                        {"loss", result.loss},
                                        {"perplexity", result.perplexity()},
                                        {"unit", unit},
                                        {"units", result.num_units},
                                        {"bits_per_" + unit, result.bits_per_unit()},
                                        {"by_position", buckets},
                                        {"seconds", seconds}};
  std::printf("%s\n", document.dump(2, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
}

void print_text(const EvalInput& input, const EvaluationResult& result) {
  const std::string unit(input.corpus->tokenizer().unit());
  std::string text = fmt::format(
      "loss             {:.4f} nats a token\nperplexity       {:.4f}\nbits per {:<8}{:.4f}\n"
      "targets          {} ({} {}s) in {} sequences\n",
      result.loss, result.perplexity(), unit, result.bits_per_unit(), result.num_targets, result.num_units, unit,
      result.num_sequences);
  if (result.num_tokens_left_out > 0) {
    text += fmt::format("left out         {} tokens, fewer than a ring has ranks\n", result.num_tokens_left_out);
  }
  text += "\nposition in the sequence      targets      loss\n";
  for (const LossBucket& bucket : result.by_position) {
    if (bucket.num_targets == 0) continue;
    text += fmt::format("{:>11} .. {:<11} {:>10} {:>9.4f}\n", bucket.first_position, bucket.end_position - 1,
                        bucket.num_targets, bucket.loss);
  }
  std::fputs(text.c_str(), stdout);
}

int evaluate(const Communicator& world, const EvalOptions& options) {
  std::optional<OutputFile> per_token_output;  // on rank 0
  agree_on(world, [&] {
    if (world.rank() != 0 || !options.per_token) return;
    per_token_output.emplace(OutputRequest{*options.per_token, "--per-token", TokenLossFile::kind(), {options.corpus}});
  });
  const EvalInput input = open_input(world, options);
  const EvaluationData data = data_of(options, input);
  RuntimeOptions machine{.ring = options.ring, .threads = options.threads};
  const EvaluationOptions evaluation{.max_sequences = options.sequences,
                                     .layout = layout_of(options, input.model),
                                     .rule = input.model.mask_rule(),
                                     .span_tokens = input.model.config.memory.span_tokens};
  agree_on(world, [&] {
    const int ring = options.ring > 0 ? options.ring : world.size();
    if (const auto problem = evaluation_problem(data, evaluation, ring)) throw Error(*problem);
  });
  agree_on(world, [&] { machine.device = device_for(options.device, input.model); });
  Runtime runtime(world, machine);
  log::info("{} at step {}, {}", input.model.folder.string(), input.model.step, runtime.description());
  StoredModel model(runtime.execution(), world, input.model);
  std::optional<Evaluator> evaluator;
  agree_on(world, [&] { evaluator.emplace(runtime, model.transformer(), data, evaluation); });

  const auto start = std::chrono::steady_clock::now();
  std::optional<TokenLossFile> file;
  std::function<void(const TokenLosses&)> per_token;
  if (options.per_token) {
    file.emplace(world, std::move(per_token_output), data, accumulator_of(model.transformer().compute_dtype()));
    per_token = [&file](const TokenLosses& losses) { file->write(losses); };
  }
  const EvaluationResult result = evaluator->run(per_token);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  agree_on(world, [&] {
    if (!std::isfinite(result.loss)) {
      throw NonFiniteError("the loss is not a number", input.model.folder.string(),
                           "the model's weights are damaged, or its precision is too low for them");
    }
  });
  if (file) file->commit();
  if (world.rank() == 0) {
    options.json ? print_json(options, input, data, result, world.size(), seconds) : print_text(input, result);
  }
  return 0;
}

int evaluate_either(const CLI::App& command, EvalOptions& options) {
  if (!options.task.arguments.task.empty()) {
    options.task.checkpoint = options.checkpoint;
    options.task.device = options.device;
    options.task.threads = options.threads;
    options.task.json = options.json;
    return run_where_started([&](const Communicator& world) { return evaluate_task(world, command, options.task); });
  }
  if (options.corpus.empty()) {
    throw ConfigError("needs a --corpus or a --task", "rondo eval", "`rondo eval --help` explains it");
  }
  return run_where_started([&](const Communicator& world) { return evaluate(world, options); });
}

}  // namespace

void add_eval(Program& program) {
  auto options = std::make_shared<EvalOptions>();
  CLI::App* command =
      add_command(program, program.app,
                  {"eval", "Measure a checkpoint's model: its loss on a corpus, or its answers to a long-range task.",
                   "mpirun -n 2 rondo eval --checkpoint runs/first --corpus corpus.h5 --per-token losses.h5\n"
                   "  mpirun -n 2 rondo eval --checkpoint runs/recall --task recall --tokens 32768 --samples 200"},
                  [options, &program] { return evaluate_either(*program.app.get_subcommand("eval"), *options); });
  add_checkpoint_option(*command, options->checkpoint);
  command->add_option("--corpus", options->corpus, "a corpus made by `rondo prepare`")->type_name("FILE");
  command->add_option("--split", options->split, "validation (if not given) or train")
      ->check(CLI::IsMember({"validation", "train"}))
      ->type_name("SPLIT");
  command->add_option("--sequence-length", options->sequence_length, "tokens of one sequence; as trained if not given")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 40))
      ->type_name("S");
  command->add_option("--sequences", options->sequences, "so many, spread evenly over the split; all if not given")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 40))
      ->type_name("N");
  command->add_option("--per-token", options->per_token, "also write the log-probability of every token, as HDF5")
      ->type_name("FILE");
  command->add_option("--ring", options->ring, "ranks that share a sequence; all if not given")
      ->check(CLI::Range(1, 1 << 20))
      ->type_name("R");
  command
      ->add_option("--layout", options->layout, "as parallel.layout: auto, contiguous, zigzag, striped or block_cyclic")
      ->check(CLI::IsMember({"auto", "contiguous", "zigzag", "striped", "block_cyclic"}))
      ->type_name("LAYOUT");
  add_machine_options(*command, options->device, options->threads);
  CLI::Option* task = add_eval_task_options(*command, options->task);
  for (const char* of_corpus :
       {"--corpus", "--split", "--sequence-length", "--sequences", "--per-token", "--ring", "--layout"}) {
    task->excludes(command->get_option(of_corpus));
  }
  add_json_option(*command, options->json);
}

}  // namespace rondo

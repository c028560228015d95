// SPDX-License-Identifier: Apache-2.0
#include "apps/run_start.hpp"

#include <filesystem>

#include "apps/figures.hpp"
#include "comm/mpi_session.hpp"
#include "config/load.hpp"
#include "config/print.hpp"
#include "config/resolve.hpp"
#include "core/log.hpp"
#include "io/data_loader.hpp"
#include "model/shape_of.hpp"
#include "plan/attention_kernels.hpp"
#include "plan/cost_estimate.hpp"
#include "train/initial_weights.hpp"
#include "train/schedule.hpp"

namespace rondo {

namespace {

RunConfig agreed_config(const Communicator& world, const ConfigOptions& options) {
  RunConfig config;
  agree_on(world, [&] { config = load_config(options.path, options.overrides, world.size()); });
  const std::vector<std::string> digests = world.all_gather(agreement_digest(config));
  agree_on(world, [&] {
    if (digests.front() != agreement_digest(config)) {
      throw ConfigError("this rank was told something else than rank 0", options.path,
                        "give all ranks the same file and the same --set");
    }
  });
  return config;
}

void open_corpus(const Communicator& world, TrainingInput& input) {
  const std::string& path = input.config.data.corpus;
  const DeviceDecision decision = choose_device(world, runtime_options(input.config));
  agree_on(world, [&] {
    if (!std::filesystem::exists(path)) {
      throw DataError("there is no such corpus", "data.corpus = " + path,
                      "make it with `rondo prepare INPUT --output " + path +
                          " --tokenizer bytes`, or name another with --set data.corpus=FILE");
    }
    input.corpus = std::make_unique<TokenCorpus>(path);
  });
  const std::vector<std::string> digests = world.all_gather(input.corpus->tokens_digest(Split::Train));
  agree_on(world, [&] {
    if (digests.front() != input.corpus->tokens_digest(Split::Train)) {
      throw DataError("this rank reads another corpus than rank 0", input.config.data.corpus,
                      "put the same file where every host finds it");
    }
    input.config = resolve(input.config, {.world_size = world.size(),
                                          .vocabulary_size = input.corpus->vocabulary_size(),
                                          .has_cuda = decision.device == DeviceChoice::Cuda,
                                          .has_nccl = decision.has_nccl,
                                          .has_bf16_units = cpu_has_bf16_matrix_units()});
    require_training_data(*input.corpus, input.config.data);
    require_transport(runtime_options(input.config));
    if (input.config.parallel.device == decision.device) input.device_reason = decision.reason;
  });
}

// Logs changes since the run's last start, and throws ConfigError for those that are not allowed.
void check_changes(const RunFolder& folder, const RunConfig& config, bool allow_change) {
  const auto before = folder.read_config();
  if (!before || std::filesystem::is_empty(folder.checkpoints())) return;
  std::string refused;
  for (const Difference& difference : differences(load_config_text(*before, folder.path() / "config.toml"), config)) {
    const bool allowed = difference.change == Change::Free || (difference.change == Change::OnRequest && allow_change);
    if (allowed) {
      log::info("changed since the last start: {}", to_string(difference));
    } else {
      refused += (refused.empty() ? "" : "\n  ") + to_string(difference);
    }
  }
  if (!refused.empty()) {
    throw ConfigError(
        "the run was started with another configuration:\n  " + refused, folder.path().string(),
        "go on with the old values, add --allow-change where that is said, or start a new run with --run");
  }
}

// Throws early what would end the run when a later stage starts from the weights of the previous one.
void require_stages(const Communicator& world, const TrainOptions& options, const TrainingInput& first) {
  RunConfig before = first.config;
  std::string path_before = options.config.path;
  for (const std::string& path : options.later_stages) {
    const TrainingInput input = open_training_input(world, {path, options.config.overrides});
    agree_on(world, [&] {
      if (input.corpus->tokenizer_digest() != first.corpus->tokenizer_digest()) {
        throw ConfigError("the corpus of this stage has another tokenizer than that of " + options.config.path, path,
                          "prepare its corpus with the same tokenizer");
      }
      require_same_model(before, input.config, "of the stage before it, " + path_before + ",", path);
    });
    before = input.config;
    path_before = path;
  }
}

/// Throws DeviceError, agreed by all ranks, if the run does not fit in the free memory of some rank's GPU. Collective.
void require_gpu_memory(Runtime& runtime, const TrainingInput& input) {
  const std::uint64_t available = runtime.gpu_memory_bytes();
  if (available == 0) return;
  const CostPlace place{.world_size = runtime.world().size(),
                        .threads = runtime.threads(),
                        .validation_tokens = input.corpus->num_tokens(Split::Validation)};
  const auto needed = static_cast<std::uint64_t>(estimate_cost(input.config, place).memory_total_bytes);
  const auto refuse = [&](const std::string& why) {
    throw DeviceError("this run needs " + bytes_text(needed) + " of GPU memory on every rank, " + why, host_name(),
                      "use more ranks, a shorter sequence or a smaller model: rondo check says what takes it");
  };
  Device& device = runtime.execution().device;
  const auto free = [&device](void* memory) { device.free(memory); };
  std::unique_ptr<void, decltype(free)> all(nullptr, free);
  agree_on(runtime.world(), [&] {
    if (needed >= available) refuse("and a rank has " + bytes_text(available));
    // Allocate at once what the run will need in pieces: other processes may use the GPU, and ranks may share one.
    try {
      all.reset(device.allocate(needed));
    } catch (const DeviceError& error) {
      refuse("which one of " + bytes_text(available) + " does not give: " + error.message());
    }
  });  // all ranks of a GPU hold their allocations here
}

/// A sentence for the log: whether two runs give the same bytes, and what that costs.
std::string determinism_text(const RunConfig& config) {
  if (config.parallel.device != DeviceChoice::Cuda) {
    return "train.deterministic: true, the same ranks and threads give the same bytes";
  }
  return *config.train.deterministic
             ? "train.deterministic: true, the same ranks give the same bytes; attention's backward pass is computed "
               "by "
               "the fused kernel, by estimate at half the speed of a long step"
             : "train.deterministic: false, two runs may differ in the last bits; train.deterministic = true gives the "
               "same bytes, by estimate at half the speed of a long step";
}

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += (text.empty() ? "" : "; ") + line;
  return text;
}

}  // namespace

void require_training_data(const TokenCorpus& corpus, const DataConfig& data) {
  require_whole_sequence(corpus, Split::Train, data.sequence_length);
  if (!data.whole_documents) return;
  for (const Split split : {Split::Train, Split::Validation}) {
    require_whole_documents(corpus, split, data.sequence_length);
  }
}

TrainingInput open_training_input(const Communicator& world, const ConfigOptions& options) {
  TrainingInput input;
  input.config = agreed_config(world, options);
  open_corpus(world, input);
  return input;
}

std::filesystem::path run_path(const TrainOptions& options) {
  if (!options.run.empty()) return options.run;
  return std::filesystem::path("runs") / std::filesystem::path(options.config.path).stem();
}

TrainingInput open_run_input(const Communicator& world, const TrainOptions& options, const RunFolder& folder) {
  ConfigOptions config = options.config;
  if (!options.time_limit.empty()) config.overrides.push_back("train.time_limit=" + options.time_limit);
  TrainingInput input = open_training_input(world, config);
  agree_on(world, [&] { check_changes(folder, input.config, options.allow_change); });
  require_stages(world, options, input);
  return input;
}

void record_start(const RunFolder& folder, const RunConfig& config, const StartRecord& start, std::int64_t step) {
  folder.rewind_metrics(step);
  // A finished run keeps the configuration with which it finished.
  if (step >= config.train.steps) return;
  const auto config_before = folder.read_config();
  if (config_before && step > 0) {
    const RunConfig before = load_config_text(*config_before, folder.path() / "config.toml");
    const std::string change = schedule_change(before.train, config.train, step);
    if (!change.empty()) log::warning("{}", change);
  }
  folder.write_config(to_toml(config));
  if (const auto last = folder.read_start(); last && last->attention != start.attention) {
    log::info("changed since the last start: attention was computed as [{}], and is now as [{}]",
              joined(last->attention), joined(start.attention));
  }
  folder.write_start(start);
}

bool lacks_validation(const Communicator& world, const RunFolder& folder, std::int64_t step) {
  bool lacks = false;
  agree_on(world, [&] { lacks = world.rank() == 0 && !folder.has_validation(step); });
  return world.any(lacks);
}

void log_start(const TrainingInput& input, const RunFolder& folder, const Runtime& runtime, const Trainer& trainer) {
  const RunConfig& config = input.config;
  const std::int64_t first_step = trainer.progress().step;
  log::info("{}{}{}", runtime.description(), input.device_reason.empty() ? "" : "; ", input.device_reason);
  for (const std::string& line : runtime.gpu_map()) log::info("{}", line);
  log::info("{}", determinism_text(config));
  log::info("model: {} parameters, {} layers, d_model {}, {} heads, {}",
            figure_text(static_cast<double>(num_parameters(shape_of(config)))), config.model.layers,
            config.model.d_model, config.model.heads, word_of(config.precision.compute));
  log::info("corpus {}: {} training tokens in {}", input.corpus->path(), input.corpus->num_tokens(Split::Train),
            counted(input.corpus->num_documents(Split::Train), "document"));
  log::info("{} steps of {} x {} tokens; all settings are in {}", config.train.steps, config.train.batch_sequences,
            config.data.sequence_length, (folder.path() / "config.toml").string());
  if (const std::string& problem = trainer.validation_problem(); !problem.empty() && runtime.world().rank() == 0) {
    log::warning("this run trains without validation: {}", problem);
  }
  if (first_step >= config.train.steps) {
    log::info("the run is finished: {} steps are done; raise train.steps to go on", first_step);
  } else if (first_step > 0) {
    log::info("continuing from step {}", first_step);
  }
}

void log_what_next(const TrainingInput& input, const RunFolder& folder, std::int64_t step) {
  const std::string run = folder.path().string();
  log::info("done: checkpoint {}/checkpoints/step-{}; next: rondo eval --checkpoint {} --corpus {}{}", run, step, run,
            input.corpus->path(), validation_problem(*input.corpus, input.config) ? " --split train" : "");
}

RuntimeOptions runtime_options(const RunConfig& config) {
  return {
      .device = config.parallel.device,
      .transport = config.parallel.transport,
      .nccl_max_ctas = config.parallel.nccl_max_ctas,
      .ring = config.parallel.ring,
      .threads = config.parallel.threads,
      .backend = {.deterministic = *config.train.deterministic, .attention_kernel = config.parallel.attention_kernel}};
}

StartRecord choose_kernels(Runtime& runtime, const TrainingInput& input) {
  require_gpu_memory(runtime, input);
  std::vector<std::int64_t> documents;
  if (input.config.data.isolate_documents) {
    documents = densest_documents(input.corpus->document_offsets(Split::Train), input.config.data.sequence_length);
  }
  return {.machine = runtime.description(),
          .deterministic = *input.config.train.deterministic,
          .gpus = runtime.gpu_map(),
          .attention = choose_attention_kernels(runtime, input.config, documents)};
}

}  // namespace rondo

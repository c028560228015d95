// SPDX-License-Identifier: Apache-2.0
#include "apps/run_start.hpp"

#include <filesystem>

#include "apps/figures.hpp"
#include "config/load.hpp"
#include "config/print.hpp"
#include "config/resolve.hpp"
#include "core/log.hpp"
#include "io/data_loader.hpp"
#include "model/shape_of.hpp"
#include "plan/cost_estimate.hpp"
#include "train/attention_kernels.hpp"

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

// Compares with the run's last start: what may not change, may not.
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

/// Throws DeviceError, agreed by all ranks, when the run does not fit in what is free of some rank's GPU. Collective.
void require_gpu_memory(Runtime& runtime, const RunConfig& config) {
  const auto needed = static_cast<std::uint64_t>(estimate_cost(config).memory_total_bytes());
  const std::uint64_t available = runtime.gpu_memory_bytes();
  if (available == 0) return;
  const auto refuse = [&](const std::string& why) {
    throw DeviceError("this run needs " + bytes_text(needed) + " of GPU memory on every rank, " + why, host_name(),
                      "use more ranks, a shorter sequence or a smaller model: rondo check says what takes it");
  };
  Device& device = runtime.execution().device;
  const auto free = [&device](void* memory) { device.free(memory); };
  std::unique_ptr<void, decltype(free)> all(nullptr, free);
  agree_on(runtime.world(), [&] {
    if (needed >= available) refuse("and a rank has " + bytes_text(available));
    // What it will take piece by piece, taken at once: other processes may have some, and ranks may share a GPU.
    try {
      all.reset(device.allocate(needed));
    } catch (const DeviceError& error) {
      refuse("which one of " + bytes_text(available) + " does not give: " + error.message());
    }
  });  // the ranks of a GPU have all taken theirs
}

/// Whether two runs give the same bytes, and what that costs.
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

TrainingInput start_run(const Communicator& world, const TrainOptions& options, const RunFolder& folder) {
  ConfigOptions config = options.config;
  if (!options.time_limit.empty()) config.overrides.push_back("train.time_limit=" + options.time_limit);
  TrainingInput start = open_training_input(world, config);
  agree_on(world, [&] { check_changes(folder, start.config, options.allow_change); });
  return start;
}

void take_up(const RunFolder& folder, const RunConfig& config, const StartRecord& machine, std::int64_t step) {
  folder.rewind_metrics(step);
  // A finished run keeps the configuration that it was finished with.
  if (step >= config.train.steps) return;
  folder.write_config(to_toml(config));
  if (const auto last = folder.read_start(); last && last->attention != machine.attention) {
    log::info("changed since the last start: attention was computed as [{}], and is now as [{}]",
              joined(last->attention), joined(machine.attention));
  }
  folder.write_start(machine);
}

void describe(const TrainingInput& start, const RunFolder& folder, const Runtime& runtime, std::int64_t first_step) {
  const RunConfig& config = start.config;
  log::info("{}{}{}", runtime.description(), start.device_reason.empty() ? "" : "; ", start.device_reason);
  for (const std::string& line : runtime.gpu_map()) log::info("{}", line);
  log::info("{}", determinism_text(config));
  log::info("model: {} parameters, {} layers, d_model {}, {} heads, {}",
            figure_text(static_cast<double>(num_parameters(shape_of(config)))), config.model.layers,
            config.model.d_model, config.model.heads, word_of(config.precision.compute));
  log::info("corpus {}: {} training tokens in {}", start.corpus->path(), start.corpus->num_tokens(Split::Train),
            counted(start.corpus->num_documents(Split::Train), "document"));
  log::info("{} steps of {} x {} tokens; all settings are in {}", config.train.steps, config.train.batch_sequences,
            config.data.sequence_length, (folder.path() / "config.toml").string());
  if (first_step >= config.train.steps) {
    log::info("the run is finished: {} steps are done; raise train.steps to go on", first_step);
  } else if (first_step > 0) {
    log::info("going on from step {}", first_step);
  }
}

void say_what_next(const TrainingInput& start, const RunFolder& folder, std::int64_t step) {
  const std::string run = folder.path().string();
  log::info("done: checkpoint {}/checkpoints/step-{}; next: rondo eval --checkpoint {} --corpus {}{}", run, step, run,
            start.corpus->path(), start.corpus->num_tokens(Split::Validation) > 0 ? "" : " --split train");
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

StartRecord settle_machine(Runtime& runtime, const TrainingInput& start) {
  require_gpu_memory(runtime, start.config);
  std::vector<std::int64_t> documents;
  if (start.config.data.isolate_documents) {
    documents = densest_documents(start.corpus->document_offsets(Split::Train), start.config.data.sequence_length);
  }
  return {.machine = runtime.description(),
          .deterministic = *start.config.train.deterministic,
          .gpus = runtime.gpu_map(),
          .attention = choose_attention_kernels(runtime, start.config, documents)};
}

ExitRecord RunRecord::base() const {
  ExitRecord record;
  record.rank = rank_;
  record.host = host_name();
  record.step = step_;
  record.phase = phase_;
  return record;
}

const RunFolder& RunRecord::take_folder(const MpiSession& session, const std::filesystem::path& path) {
  rank_ = session.launch_rank();
  std::optional<Error> mine;
  try {
    auto folder = std::make_unique<RunFolder>(path);
    if (rank_ == 0) {
      folder->lock();
      ExitRecord record = base();
      record.cause = "running";
      record.retry = true;
      folder->write_running(record);
    }
    folder_ = std::move(folder);
  } catch (const std::exception&) {
    mine = error_at_hand();
  }
  // Only now the first that ranks do together: a rank that is gone by then leaves the record of a run.
  agree(session.world(), mine);
  rank_ = session.world().rank();
  log::info("run folder {}", path.string());
  return *folder_;
}

void RunRecord::end(const std::string& cause, int exit_code) const {
  ExitRecord record = base();
  record.cause = cause;
  record.exit_code = exit_code;
  record.retry = exit_code != 0;
  if (rank_ == 0) folder_->write_exit(record);
}

void RunRecord::fail(const Error& error, bool rank_alone) const noexcept {
  if (folder_ == nullptr || (!rank_alone && rank_ != 0)) return;
  ExitRecord record = base();
  record.cause = std::string(name_of(error.kind()));
  record.exit_code = exit_code(error.kind());
  record.message = error.where().empty() ? error.message() : error.where() + ": " + error.message();
  record.advice = error.advice();
  record.retry = error.kind() == ErrorKind::Communication;
  folder_->write_exit(record);
}

}  // namespace rondo

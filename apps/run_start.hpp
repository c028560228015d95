// SPDX-License-Identifier: Apache-2.0
// What comes before the first step: configuration, corpus and run folder, opened and compared over all ranks, and what
// the run says when it starts and when it ends.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "apps/options.hpp"
#include "config/run_config.hpp"
#include "io/run_folder.hpp"
#include "io/token_corpus.hpp"
#include "runtime/runtime.hpp"
#include "train/trainer.hpp"

namespace rondo {

struct TrainOptions {
  ConfigOptions config;
  std::string run;         // the run folder; empty: runs/<name of the configuration>
  std::string time_limit;  // as train.time_limit; empty: as configured
  bool allow_change = false;
  std::vector<std::string> later_stages;  // their configurations, which are checked before this stage trains
};

/// What a model is trained with: all ranks agree on it.
struct TrainingInput {
  RunConfig config;  // resolved
  std::unique_ptr<TokenCorpus> corpus;
  std::string device_reason;  // why `auto` is the device that it is; empty if it was named
};

/// Throws DataError when the corpus does not have the sequences that the configuration asks for.
void require_training_data(const TokenCorpus& corpus, const DataConfig& data);
/// Collective. Loads the configuration and opens the corpus; throws AgreedError for anything that is wrong with them.
TrainingInput open_training_input(const Communicator& world, const ConfigOptions& options);
/// The folder of the run that these options mean.
std::filesystem::path run_path(const TrainOptions& options);
/// As open_training_input(), for a run in this folder: also throws for what may not change between its starts, and for what is wrong
/// with later stages.
TrainingInput open_run_input(const Communicator& world, const TrainOptions& options, const RunFolder& folder);
/// What the ranks will compute with. Collective.
/// @throws DeviceError, agreed by all ranks, when it does not fit in what is free of some rank's GPU; ConfigError when
/// parallel.attention_kernel asks for a kernel that cannot serve this model
StartRecord choose_kernels(Runtime& runtime, const TrainingInput& input);

/// On rank 0: makes the folder that of a run which continues from this step, with this configuration and machine. Logs what differs
/// from the last start: what is computed otherwise, and what the learning rate does.
void record_start(const RunFolder& folder, const RunConfig& config, const StartRecord& start, std::int64_t step);
/// Did the last start of this run end between the checkpoint of this step and its evaluation? Alike on all ranks. Collective.
bool lacks_validation(const Communicator& world, const RunFolder& folder, std::int64_t step);

/// What the log says before the first step, and when all steps are done.
void log_start(const TrainingInput& input, const RunFolder& folder, const Runtime& runtime, const Trainer& trainer);
void log_what_next(const TrainingInput& input, const RunFolder& folder, std::int64_t step);

RuntimeOptions runtime_options(const RunConfig& config);

}  // namespace rondo

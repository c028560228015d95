// SPDX-License-Identifier: Apache-2.0
// What happens before the first step: opens configuration, corpus and run folder, and compares them over all ranks; also what
// the run logs when it starts and ends.
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
  std::string time_limit;  // overrides train.time_limit; empty: as configured
  bool allow_change = false;
  std::vector<std::string> later_stages;  // configurations, checked before this stage trains
};

/// What a model is trained with; equal on all ranks.
struct TrainingInput {
  RunConfig config;  // resolved
  std::unique_ptr<TokenCorpus> corpus;
  std::string device_reason;  // why `auto` chose this device; empty if it was named
};

/// Throws DataError when the corpus does not have the sequences that the configuration requires.
void require_training_data(const TokenCorpus& corpus, const DataConfig& data);
/// Collective. Loads the configuration and opens the corpus; throws AgreedError for anything that is wrong with them.
TrainingInput open_training_input(const Communicator& world, const ConfigOptions& options);
/// The run folder for these options.
std::filesystem::path run_path(const TrainOptions& options);
/// Like open_training_input(), for a run in this folder: also throws for settings that may not change between its starts, and
/// for errors in later stages.
TrainingInput open_run_input(const Communicator& world, const TrainOptions& options, const RunFolder& folder);
/// Determines the devices and kernels that the ranks will use. Collective.
/// @throws DeviceError, agreed by all ranks, if the run does not fit in the free memory of some rank's GPU; ConfigError if
/// parallel.attention_kernel names a kernel that does not support this model
StartRecord choose_kernels(Runtime& runtime, const TrainingInput& input);

/// On rank 0: updates the folder for a run that continues from this step with this configuration and machine. Logs changes
/// since the last start in the attention kernels and in the learning-rate schedule.
void record_start(const RunFolder& folder, const RunConfig& config, const StartRecord& start, std::int64_t step);
/// Whether the last start of this run ended after the checkpoint of this step but before its evaluation. Equal on all ranks.
/// Collective.
bool lacks_validation(const Communicator& world, const RunFolder& folder, std::int64_t step);

/// Log what is known before the first step, and the next commands when all steps are done.
void log_start(const TrainingInput& input, const RunFolder& folder, const Runtime& runtime, const Trainer& trainer);
void log_what_next(const TrainingInput& input, const RunFolder& folder, std::int64_t step);

RuntimeOptions runtime_options(const RunConfig& config);

}  // namespace rondo

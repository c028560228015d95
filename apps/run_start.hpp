// SPDX-License-Identifier: Apache-2.0
// What comes before the first step: configuration, corpus and run folder, opened and compared over all ranks, and what
// the run says when it starts and when it ends.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "apps/options.hpp"
#include "comm/mpi_session.hpp"
#include "config/run_config.hpp"
#include "io/run_folder.hpp"
#include "io/token_corpus.hpp"
#include "runtime/runtime.hpp"

namespace rondo {

struct TrainOptions {
  ConfigOptions config;
  std::string run;         // the run folder; empty: runs/<name of the configuration>
  std::string time_limit;  // as train.time_limit; empty: as configured
  bool allow_change = false;
};

/// What a model is trained with: all ranks agree on it.
struct TrainingInput {
  RunConfig config;  // resolved
  std::unique_ptr<TokenCorpus> corpus;
  std::string device_reason;  // why `auto` is the device that it is; empty if it was named
};

/// Throws DataError when the corpus does not have the sequences that the configuration asks for.
void require_training_data(const TokenCorpus& corpus, const DataConfig& data);
/// Collective, as start_run; knows of no run folder.
TrainingInput open_training_input(const Communicator& world, const ConfigOptions& options);
/// The folder of the run that these options mean.
std::filesystem::path run_path(const TrainOptions& options);
/// Collective. Throws AgreedError for anything that is wrong, before memory for the model is taken.
TrainingInput start_run(const Communicator& world, const TrainOptions& options, const RunFolder& folder);

/// On rank 0: makes the folder one of a run that goes on from this step, with this configuration and machine. What is computed
/// otherwise than at the last start is said.
void take_up(const RunFolder& folder, const RunConfig& config, const StartRecord& machine, std::int64_t step);

/// What the log says before the first step, and when all steps are done.
void describe(const TrainingInput& start, const RunFolder& folder, const Runtime& runtime, std::int64_t first_step);
void say_what_next(const TrainingInput& start, const RunFolder& folder, std::int64_t step);

RuntimeOptions runtime_options(const RunConfig& config);
/// What the run will compute with. Collective.
/// @throws DeviceError, agreed by all ranks, when it does not fit in what is free of some rank's GPU; ConfigError when
/// parallel.attention_kernel asks for a kernel that cannot serve this model
StartRecord settle_machine(Runtime& runtime, const TrainingInput& start);

/// Holds the run's folder until the process ends, and keeps its exit.json true: "running" from take_folder() on, and at the
/// end how the run ended.
class RunRecord {
 public:
  /// The first thing that a run does, so that every way to end has a record. Collective; rank 0 locks the folder, and a
  /// folder that another process has, or that holds something else than a run, is refused (AgreedError).
  const RunFolder& take_folder(const MpiSession& session, const std::filesystem::path& path);
  void at(std::string_view phase, std::int64_t step) {
    phase_ = phase;
    step_ = step;
  }
  /// On rank 0: the run ended as it should.
  void end(const std::string& cause, int exit_code) const;
  /// An error that ends the run; `rank_alone`: of this rank only, else rank 0 writes.
  void fail(const Error& error, bool rank_alone) const noexcept;

 private:
  ExitRecord base() const;

  std::unique_ptr<RunFolder> folder_;
  int rank_ = 0;
  std::string phase_ = "start";
  std::int64_t step_ = 0;
};

}  // namespace rondo

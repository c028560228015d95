// SPDX-License-Identifier: Apache-2.0
// What comes before the first step: configuration, corpus and run folder, opened and compared over all ranks, and what
// the run says when it starts and when it ends.
#pragma once

#include <memory>
#include <optional>
#include <string>

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
};

/// A run that is ready to be built: all ranks agree on everything in it.
struct RunStart : TrainingInput {
  std::shared_ptr<RunFolder> folder;  // locked by rank 0; the RunRecord keeps it until the process ends
};

/// Collective, as start_run; makes no run folder.
TrainingInput open_training_input(const Communicator& world, const ConfigOptions& options);
/// Collective. Throws AgreedError for anything that is wrong, before memory for the model is taken.
RunStart start_run(const Communicator& world, const TrainOptions& options);

RuntimeOptions runtime_options(const RunConfig& config);

/// Keeps exit.json true: "running" from begin() on, and at the end how the run ended.
class RunRecord {
 public:
  /// On every rank; rank 0 writes "running".
  void begin(std::shared_ptr<const RunFolder> folder, int rank);
  void at(std::string phase, std::int64_t step) {
    phase_ = std::move(phase);
    step_ = step;
  }
  void step_done(std::int64_t step) { step_ = step; }
  /// On rank 0: the run ended as it should.
  void end(const std::string& cause, int exit_code) const;
  /// An error that ends the run; `rank_alone`: of this rank only, else rank 0 writes.
  void fail(const Error& error, bool rank_alone) const noexcept;

 private:
  ExitRecord base() const;

  std::shared_ptr<const RunFolder> folder_;
  int rank_ = 0;
  std::string phase_ = "start";
  std::int64_t step_ = 0;
};

}  // namespace rondo

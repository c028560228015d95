// SPDX-License-Identifier: Apache-2.0
// The complete state of a run between two steps, which checkpoints save: parameters, moments and progress.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "io/checkpoint_metadata.hpp"
#include "io/checkpoint_store.hpp"
#include "train/adamw.hpp"

namespace rondo {

struct TrainingProgress {
  std::int64_t step = 0;             // updates done
  std::int64_t tokens_seen = 0;      // over all ranks
  std::int64_t loader_position = 0;  // sequences consumed over all ranks: the next one to load
};

class TrainingState {
 public:
  TrainingState(ParameterSet& parameters, AdamW& optimizer) : parameters_(parameters), optimizer_(optimizer) {}

  TrainingProgress progress;

  /// parameters/NAME, moment_1/NAME and moment_2/NAME for every parameter.
  std::vector<NamedTensor> tensors() const;
  /// Restores the progress of a checkpoint. @pre its tensors have been read
  void resume(const CheckpointMetadata& metadata);
  /// The metadata of a checkpoint, as JSON. @param origin the run's metadata; its progress is replaced by this one
  std::string metadata(CheckpointMetadata origin) const;

 private:
  ParameterSet& parameters_;
  AdamW& optimizer_;
};

}  // namespace rondo

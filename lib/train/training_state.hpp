// SPDX-License-Identifier: Apache-2.0
// Everything that a run is at a step boundary: parameters, moments, and where it stands. What is saved, and
// no more.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "io/checkpoint_store.hpp"
#include "train/adamw.hpp"

namespace rondo {

struct TrainingProgress {
  std::int64_t step = 0;             // updates done
  std::int64_t tokens_seen = 0;      // over all ranks
  std::int64_t loader_position = 0;  // sequences consumed over all ranks: the next one to load
  std::int64_t stage = 0;
};

/// What goes with the tensors: enough to use the checkpoint without any other file.
struct CheckpointContext {
  std::string config_toml;     // the resolved configuration
  std::string tokenizer_json;  // the complete tokenizer
  std::string tokenizer_digest;
  std::string corpus_digest;  // of the training tokens
  std::int64_t seed = 0;
};

class TrainingState {
 public:
  TrainingState(ParameterSet& parameters, AdamW& optimizer) : parameters_(parameters), optimizer_(optimizer) {}

  TrainingProgress progress;

  /// parameters/NAME, moment_1/NAME and moment_2/NAME for every parameter.
  std::vector<NamedTensor> tensors() const;
  /// JSON: config, step, tokens_seen, loader_position, stage, seed, tokenizer, tokenizer_digest,
  /// corpus_digest.
  std::string metadata(const CheckpointContext& context) const;
  /// Throws CheckpointError when the text is not such metadata.
  static TrainingProgress progress_from(const std::string& metadata);

 private:
  ParameterSet& parameters_;
  AdamW& optimizer_;
};

}  // namespace rondo

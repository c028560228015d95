// SPDX-License-Identifier: Apache-2.0
// A model loaded from a checkpoint and nothing else: configuration, tokenizer and weights. For inference only: the optimizer's
// moments are not read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "comm/communicator.hpp"
#include "config/run_config.hpp"
#include "io/checkpoint_store.hpp"
#include "io/tokenizer.hpp"
#include "model/shape_of.hpp"
#include "model/transformer.hpp"

namespace rondo {

/// A checkpoint's description of its model.
struct StoredModelInfo {
  std::filesystem::path folder;  // step-N
  RunConfig config;              // resolved
  std::int64_t step = 0;
  std::int64_t tokens_seen = 0;
  std::string tokenizer_digest;
  std::string model_digest;  // of the weights and the [model] table
  std::unique_ptr<Tokenizer> tokenizer;

  AttentionMask::Rule mask_rule() const { return mask_rule_of(config.model); }
};

/// @param given  a step folder, a folder of step folders or a run folder; among several the newest valid one is chosen.
/// Collective. Throws CheckpointError, alike on all ranks, when there is none.
std::filesystem::path find_checkpoint(const Communicator& ranks, const std::filesystem::path& given);

/// Reads no tensors; not collective. Throws CheckpointError.
StoredModelInfo read_model_info(const std::filesystem::path& step_folder);

/// parameters/NAME for every parameter, as in a checkpoint: what evaluation, generation and a new run need.
std::vector<NamedTensor> stored_weights(ParameterSet& parameters);

class StoredModel {
 public:
  /// Reads the weights. Collective over `ranks`. Throws CheckpointError, alike on all ranks.
  StoredModel(Execution& execution, const Communicator& ranks, const StoredModelInfo& info);

  Transformer& transformer() { return transformer_; }
  /// Closes the gates of all memories: from then on every output is that of exact attention alone.
  void close_gates();
  /// The same weights in another execution of this process on the same device, such as one rank of a ring working alone.
  Transformer transformer_in(Execution& execution);

 private:
  TransformerShape shape_;
  ParameterSet parameters_;
  Transformer transformer_;
};

}  // namespace rondo

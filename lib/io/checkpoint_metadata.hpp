// SPDX-License-Identifier: Apache-2.0
// What a checkpoint holds beside its tensors: enough to use it without any other file. Only this file writes and reads it.
#pragma once

#include <cstdint>
#include <string>

namespace rondo {

struct CheckpointMetadata {
  std::string config_toml;  ///< the resolved configuration
  std::int64_t step = 0;    ///< completed updates
  std::int64_t tokens_seen = 0;
  std::int64_t loader_position = 0;  ///< sequences consumed by all ranks: the index of the next one to load
  std::int64_t seed = 0;
  std::string tokenizer_json;  ///< the complete tokenizer
  std::string tokenizer_digest;
  std::string corpus_digest;  ///< of the training tokens

  std::string to_json() const;
  /// Also reads records from before they had a version. @throws CheckpointError that names `where`, also for a newer version
  static CheckpointMetadata from_json(const std::string& text, const std::string& where);
};

}  // namespace rondo

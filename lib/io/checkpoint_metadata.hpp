// SPDX-License-Identifier: Apache-2.0
// What a checkpoint holds beside its tensors: enough to use it without any other file. Written and read here alone.
#pragma once

#include <cstdint>
#include <string>

namespace rondo {

struct CheckpointMetadata {
  std::string config_toml;  ///< the resolved configuration
  std::int64_t step = 0;    ///< updates done
  std::int64_t tokens_seen = 0;
  std::int64_t loader_position = 0;  ///< sequences consumed over all ranks: the next one to load
  std::int64_t seed = 0;
  std::string tokenizer_json;  ///< the complete tokenizer
  std::string tokenizer_digest;
  std::string corpus_digest;  ///< of the training tokens

  std::string to_json() const;
  /// Reads records of before they had a version too. @throws CheckpointError that names `where`; for a newer version too
  static CheckpointMetadata from_json(const std::string& text, const std::string& where);
};

}  // namespace rondo

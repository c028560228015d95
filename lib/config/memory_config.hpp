// SPDX-License-Identifier: Apache-2.0
// [memory]: what bounds the memory of a rank, besides the size of its shard.
#pragma once

#include <cstdint>

namespace rondo {

struct MemoryConfig {
  std::int64_t ffn_chunk_tokens = 0;   // tokens that the feed-forward network computes at a time; 0: set by resolve()
  std::int64_t head_chunk_tokens = 0;  // tokens whose logits are in memory at a time; 0: set by resolve()

  std::int64_t span_tokens = 0;         // tokens of the sequence that are processed at a time; 0: all
  std::int64_t span_states_mib = 1024;  // for the states between spans; with less memory more is recomputed

  bool operator==(const MemoryConfig&) const = default;
};

}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
// [memory]: what bounds the memory of a rank besides its share of the sequence.
#pragma once

#include <cstdint>

namespace rondo {

struct MemoryConfig {
  std::int64_t ffn_chunk_tokens = 0;  // the feed-forward network is computed for so many tokens at a time; 0: resolve()
  std::int64_t head_chunk_tokens = 0;  // logits exist for so many tokens at a time; 0: resolve()

  std::int64_t span_tokens = 0;         // a step goes through the sequence so many tokens at a time; 0: all at once
  std::int64_t span_states_mib = 1024;  // for the states between spans; with less room more is computed again

  bool operator==(const MemoryConfig&) const = default;
};

}  // namespace rondo

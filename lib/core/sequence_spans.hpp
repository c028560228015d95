// SPDX-License-Identifier: Apache-2.0
// A sequence as spans that are processed one after the other.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/sequence_layout.hpp"

namespace rondo {

class SequenceSpans {
 public:
  /// @param span_tokens  0: one span. The last span has the remaining tokens; fewer than one token per rank are added to the
  /// span before instead.
  /// @pre sequence_tokens >= ring
  SequenceSpans(std::int64_t sequence_tokens, std::int64_t span_tokens, int ring, LayoutKind kind)
      : sequence_tokens_(sequence_tokens),
        span_tokens_(span_tokens == 0 ? sequence_tokens : std::max<std::int64_t>(span_tokens, ring)),
        ring_(ring),
        kind_(kind),
        count_(std::max<std::int64_t>(1, (sequence_tokens - ring) / span_tokens_ + 1)) {}

  std::int64_t sequence_tokens() const { return sequence_tokens_; }
  std::int64_t count() const { return count_; }
  SequenceLayout layout(std::int64_t span) const {
    const std::int64_t first = span * span_tokens_;
    const std::int64_t end = span + 1 < count_ ? first + span_tokens_ : sequence_tokens_;
    return {end - first, ring_, kind_, first};
  }
  /// The largest shard of any rank in any span.
  std::int64_t max_tokens() const { return std::max(layout(0).max_tokens(), layout(count_ - 1).max_tokens()); }
  /// The largest shard of one rank in any span.
  std::int64_t most_tokens(int rank) const {
    return std::max(layout(0).num_tokens(rank), layout(count_ - 1).num_tokens(rank));
  }

 private:
  std::int64_t sequence_tokens_, span_tokens_;
  int ring_;
  LayoutKind kind_;
  std::int64_t count_;
};

}  // namespace rondo

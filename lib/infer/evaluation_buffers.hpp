// SPDX-License-Identifier: Apache-2.0
// Device buffers of an evaluation: tokens, targets and losses of a span, and the recurrent state between spans.
#pragma once

#include <optional>

#include "core/sequence_spans.hpp"
#include "model/transformer.hpp"

namespace rondo {

struct EvaluationBuffers {
  /// @param longest_tokens  tokens of the longest sequence  @param span_tokens  as in SequenceSpans
  EvaluationBuffers(Execution& execution, Transformer& model, std::int64_t longest_tokens, std::int64_t span_tokens,
                    LayoutKind layout)
      : capacity(capacity_of(longest_tokens, span_tokens, execution.ring.size(), layout)),
        tokens(execution.device, DType::Int32, {capacity}, MemoryUse::Workspace),
        targets(execution.device, DType::Int32, {capacity}, MemoryUse::Workspace),
        losses(execution.device, accumulator_of(model.compute_dtype()), {capacity}, MemoryUse::Workspace) {
    if (span_tokens > 0 && span_tokens < longest_tokens) state = model.make_state(longest_tokens);
  }

  std::int64_t capacity;               // the largest shard of a span: T is at most this
  Buffer tokens, targets, losses;      // [T]
  std::optional<SequenceState> state;  // none when every sequence is one span

 private:
  static std::int64_t capacity_of(std::int64_t longest, std::int64_t span, int ring, LayoutKind layout) {
    return longest < ring ? 1 : SequenceSpans(longest, span, ring, layout).max_tokens();
  }
};

}  // namespace rondo

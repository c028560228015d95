// SPDX-License-Identifier: Apache-2.0
// Back-propagation through the spans of a sequence: forward for the states between them, backward in reverse with the gradient
// of the state, and as many states kept as a budget allows. What is not kept is computed again from the nearest state before.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "model/transformer.hpp"

namespace rondo {

/// The states before spans c, 2c, ... are kept through the whole sequence, and those between two of them while backward is
/// there. @returns the smallest c, which costs least arithmetic: 1, and all forward passes but the last are made twice; else
/// three times. Throws ConfigError when even the best c keeps more than `most_states`.
std::int64_t state_spacing(std::int64_t num_spans, std::int64_t most_states);
/// How many states are kept at that spacing.
std::int64_t num_kept_states(std::int64_t num_spans, std::int64_t spacing);

class SpanStates {
 public:
  /// @pre num_spans > 1. @param capacity_tokens  of the longest sequence
  SpanStates(Execution& execution, Transformer& model, std::int64_t num_spans, std::int64_t capacity_tokens,
             std::int64_t budget_bytes);

  /// Takes the state over a span.
  using Advance = std::function<void(std::int64_t span, SequenceFlow state)>;
  /// Forward and backward of a span; d_state behind it becomes that before it.
  using GoBack = std::function<void(std::int64_t span, const SequenceState* before, SequenceState* d_state)>;
  /// Calls advance() for the spans whose state is needed, and go_back() once for each span, the last first.
  void walk(const Advance& advance, const GoBack& go_back);

 private:
  /// The state before a span: null before the first.
  SequenceState* before(std::int64_t span);

  Execution& execution_;
  std::int64_t num_spans_;
  std::int64_t spacing_ = 0;
  std::vector<SequenceState> outer_;  // before spans c, 2c, ...
  std::vector<SequenceState> inner_;  // before the other spans of the block at hand, in order
  SequenceState d_state_;
};

}  // namespace rondo

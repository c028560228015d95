// SPDX-License-Identifier: Apache-2.0
// Back-propagation through the spans of a sequence: forward computes the states between spans, backward visits the spans in
// reverse with the gradient of the state. As many states are kept as a budget allows; others are recomputed.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "model/transformer.hpp"

namespace rondo {

/// Checkpointing of states at multiples of c: the states before spans c, 2c, ... are kept for the whole sequence, those between
/// two of them only during their block's backward. @returns the smallest possible c, which recomputes least: with c = 1 forward
/// runs twice per span, except the last, else up to three times. Throws ConfigError if every c needs more than `most_states`.
std::int64_t state_spacing(std::int64_t num_spans, std::int64_t most_states);
/// How many states are kept at that spacing.
std::int64_t num_kept_states(std::int64_t num_spans, std::int64_t spacing);

class SpanStates {
 public:
  /// @pre num_spans > 1. @param capacity_tokens  the length of the longest sequence
  SpanStates(Execution& execution, Transformer& model, std::int64_t num_spans, std::int64_t capacity_tokens,
             std::int64_t budget_bytes);

  /// Computes the state after a span from the state before it.
  using Advance = std::function<void(std::int64_t span, SequenceFlow state)>;
  /// Forward and backward of a span; turns the gradient of the state after it into that of the state before it.
  using GoBack = std::function<void(std::int64_t span, const SequenceState* before, SequenceState* d_state)>;
  /// Calls advance() for the spans whose state is needed, and go_back() once per span, last span first.
  void walk(const Advance& advance, const GoBack& go_back);

 private:
  /// The state before a span; null for the first.
  SequenceState* before(std::int64_t span);

  Execution& execution_;
  std::int64_t num_spans_;
  std::int64_t spacing_ = 0;
  std::vector<SequenceState> outer_;  // before spans c, 2c, ...
  std::vector<SequenceState> inner_;  // before the other spans of the current block, in order
  SequenceState d_state_;
};

}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
#include "train/span_states.hpp"

#include <algorithm>
#include <spdlog/fmt/fmt.h>

#include "core/trace.hpp"

namespace rondo {

std::int64_t num_kept_states(std::int64_t num_spans, std::int64_t spacing) {
  const std::int64_t blocks = (num_spans + spacing - 1) / spacing;
  return blocks - 1 + std::min(spacing, num_spans) - 1;
}

std::int64_t state_spacing(std::int64_t num_spans, std::int64_t most_states) {
  std::int64_t fewest = num_spans;
  for (std::int64_t spacing = 1; spacing <= num_spans; ++spacing) {
    const std::int64_t kept = num_kept_states(num_spans, spacing);
    if (kept <= most_states) return spacing;
    fewest = std::min(fewest, kept);
  }
  throw ConfigError(
      fmt::format("the {} spans of a sequence need at least {} states between them, but there is room for {}",
                  num_spans, fewest, most_states),
      "memory.span_states_mib", "set memory.span_states_mib higher, or memory.span_tokens");
}

SpanStates::SpanStates(Execution& execution, Transformer& model, std::int64_t num_spans, std::int64_t capacity_tokens,
                       std::int64_t budget_bytes)
    : execution_(execution), num_spans_(num_spans), d_state_(model.make_state_gradient(capacity_tokens)) {
  ensure(num_spans > 1, "there is a state between spans");
  SequenceState first = model.make_state(capacity_tokens);
  spacing_ = state_spacing(num_spans, budget_bytes / first.size_bytes());
  const auto inner = static_cast<std::size_t>(std::min(spacing_, num_spans) - 1);
  const auto all = static_cast<std::size_t>(num_kept_states(num_spans, spacing_));
  (inner > 0 ? inner_ : outer_).push_back(std::move(first));
  while (inner_.size() < inner) inner_.push_back(model.make_state(capacity_tokens));
  while (inner_.size() + outer_.size() < all) outer_.push_back(model.make_state(capacity_tokens));
}

SequenceState* SpanStates::before(std::int64_t span) {
  if (span == 0) return nullptr;
  const std::int64_t in_block = span % spacing_;
  return in_block == 0 ? &outer_[static_cast<std::size_t>(span / spacing_ - 1)]
                       : &inner_[static_cast<std::size_t>(in_block - 1)];
}

void SpanStates::walk(const Advance& advance, const GoBack& go_back) {
  TraceScope trace("span_states.walk");
  const std::int64_t last_block = (num_spans_ - 1) / spacing_ * spacing_;
  for (std::int64_t span = 0; span < last_block; ++span) advance(span, {before(span), before(span + 1)});
  d_state_.clear(execution_.device, execution_.compute);
  for (std::int64_t first = last_block; first >= 0; first -= spacing_) {
    const std::int64_t end = std::min(first + spacing_, num_spans_);
    for (std::int64_t span = first; span + 1 < end; ++span) advance(span, {before(span), before(span + 1)});
    for (std::int64_t span = end; span-- > first;) go_back(span, before(span), &d_state_);
  }
}

}  // namespace rondo

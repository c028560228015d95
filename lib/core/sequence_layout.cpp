// SPDX-License-Identifier: Apache-2.0
#include "core/sequence_layout.hpp"

#include <algorithm>
#include <string>

namespace rondo {

namespace {

struct Part {
  std::int64_t first;
  std::int64_t count;
};

// Part `index` of `parts` nearly equal parts: the first (total mod parts) are one longer, so early ranks are never empty.
Part part_of(std::int64_t total, std::int64_t parts, std::int64_t index) {
  const std::int64_t base = total / parts;
  const std::int64_t longer = total % parts;
  return {index * base + std::min(index, longer), base + (index < longer ? 1 : 0)};
}

}  // namespace

std::string_view name_of(LayoutKind kind) {
  switch (kind) {
    case LayoutKind::Contiguous: return "contiguous";
    case LayoutKind::Zigzag: return "zigzag";
    case LayoutKind::Striped: return "striped";
  }
  return "?";
}

LayoutKind layout_kind_from(std::string_view name) {
  for (LayoutKind kind : {LayoutKind::Contiguous, LayoutKind::Zigzag, LayoutKind::Striped}) {
    if (name == name_of(kind)) return kind;
  }
  throw ConfigError("unknown layout '" + std::string(name) + "'", "", "use contiguous, zigzag or striped");
}

LayoutKind balancing_layout(bool causal, std::int64_t window) {
  return causal && window == 0 ? LayoutKind::Zigzag : LayoutKind::Contiguous;
}

SequenceLayout::SequenceLayout(std::int64_t span_tokens, int ring, LayoutKind kind, std::int64_t first_position)
    : span_tokens_(span_tokens), ring_(ring), kind_(kind), first_position_(first_position) {
  if (ring < 1 || span_tokens < ring) {
    throw ConfigError(
        "a span of " + std::to_string(span_tokens) + " tokens cannot be shared by " + std::to_string(ring) + " ranks",
        "", "every rank needs at least one token: use fewer ranks or a longer sequence");
  }
}

TokenRuns SequenceLayout::runs(int rank) const {
  ensure(rank >= 0 && rank < ring_, "the rank lies in the ring");
  TokenRuns runs;
  switch (kind_) {
    case LayoutKind::Contiguous: {
      const Part part = part_of(span_tokens_, ring_, rank);
      runs.append(first_position_ + part.first, 1, part.count);
      break;
    }
    case LayoutKind::Zigzag: {
      const Part early = part_of(span_tokens_, 2 * ring_, rank);
      const Part late = part_of(span_tokens_, 2 * ring_, 2 * ring_ - 1 - rank);
      if (early.first + early.count == late.first) {  // the innermost rank, or a ring of one
        runs.append(first_position_ + early.first, 1, early.count + late.count);
      } else {
        runs.append(first_position_ + early.first, 1, early.count);
        runs.append(first_position_ + late.first, 1, late.count);
      }
      break;
    }
    case LayoutKind::Striped:
      runs.append(first_position_ + rank, ring_, (span_tokens_ - rank + ring_ - 1) / ring_);
      break;
  }
  return runs;
}

std::int64_t SequenceLayout::max_tokens() const {
  std::int64_t most = 0;
  for (int rank = 0; rank < ring_; ++rank) most = std::max(most, num_tokens(rank));
  return most;
}

}  // namespace rondo

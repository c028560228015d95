// SPDX-License-Identifier: Apache-2.0
#include "core/sequence_layout.hpp"

#include <algorithm>
#include <string>
#include <vector>

namespace rondo {

namespace {

constexpr int kBlocksOfRank = 4;  // in block_cyclic

struct Part {
  std::int64_t first;
  std::int64_t count;
};

// Part `index` of `parts` nearly equal parts: the first (total mod parts) are one longer, so no rank is empty.
Part part_of(std::int64_t total, std::int64_t parts, std::int64_t index) {
  const std::int64_t base = total / parts;
  const std::int64_t longer = total % parts;
  return {index * base + std::min(index, longer), base + (index < longer ? 1 : 0)};
}

// Ascending parts as runs; adjacent parts, such as all parts in a ring of one, become one run.
TokenRuns joined(const std::vector<Part>& parts, std::int64_t first_position) {
  TokenRuns runs;
  Part whole{0, 0};
  for (const Part& part : parts) {
    if (part.first != whole.first + whole.count) {
      runs.append(first_position + whole.first, 1, whole.count);
      whole.first = part.first, whole.count = 0;
    }
    whole.count += part.count;
  }
  runs.append(first_position + whole.first, 1, whole.count);
  return runs;
}

}  // namespace

std::string_view name_of(LayoutKind kind) {
  switch (kind) {
    case LayoutKind::Contiguous: return "contiguous";
    case LayoutKind::Zigzag: return "zigzag";
    case LayoutKind::Striped: return "striped";
    case LayoutKind::BlockCyclic: return "block_cyclic";
  }
  return "?";
}

LayoutKind layout_kind_from(std::string_view name) {
  for (LayoutKind kind : kLayoutKinds) {
    if (name == name_of(kind)) return kind;
  }
  throw ConfigError("unknown layout '" + std::string(name) + "'", "",
                    "use contiguous, zigzag, striped or block_cyclic");
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
  std::vector<Part> parts;
  switch (kind_) {
    case LayoutKind::Contiguous: parts = {part_of(span_tokens_, ring_, rank)}; break;
    case LayoutKind::Zigzag:
      parts = {part_of(span_tokens_, 2 * ring_, rank), part_of(span_tokens_, 2 * ring_, 2 * ring_ - 1 - rank)};
      break;
    case LayoutKind::BlockCyclic:
      for (int block = 0; block < kBlocksOfRank; ++block) {
        parts.push_back(part_of(span_tokens_, kBlocksOfRank * ring_, rank + block * ring_));
      }
      break;
    case LayoutKind::Striped: {
      TokenRuns runs;
      runs.append(first_position_ + rank, ring_, (span_tokens_ - rank + ring_ - 1) / ring_);
      return runs;
    }
  }
  return joined(parts, first_position_);
}

std::int64_t SequenceLayout::max_tokens() const {
  std::int64_t most = 0;
  for (int rank = 0; rank < ring_; ++rank) most = std::max(most, num_tokens(rank));
  return most;
}

}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
#include "core/attention_mask.hpp"

#include <string>
#include <utility>

namespace rondo {

namespace {

// First index in [0, count] for which the monotone predicate holds.
template <typename Predicate> std::int64_t first_index(std::int64_t count, Predicate holds) {
  std::int64_t low = 0, high = count;
  while (low < high) {
    const std::int64_t middle = low + (high - low) / 2;
    if (holds(middle)) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

// Only queries whose interval overlaps the keys' extent are looked at; for dense keys the first of them decides.
bool run_attends(const AttentionMaskView& mask, const TokenRun& queries, const TokenRun& keys) {
  const auto interval = [&](std::int64_t index) { return mask.keys_of(queries.global_of(index)); };
  const std::int64_t begin =
      first_index(queries.count, [&](std::int64_t q) { return interval(q).end > keys.global_first; });
  const std::int64_t end =
      first_index(queries.count, [&](std::int64_t q) { return interval(q).begin > keys.global_last(); });
  for (std::int64_t q = begin; q < end; ++q) {
    const KeyInterval inside = clip_to_run(interval(q), keys);
    if (inside.begin < inside.end) return true;
  }
  return false;
}

}  // namespace

AttentionMaskView AttentionMask::view_of(Rule rule, std::int64_t sequence_tokens,
                                         std::span<const std::int64_t> document_offsets) {
  AttentionMaskView view{.causal = rule.causal,
                         .window = rule.window,
                         .segment_tokens = rule.segment_tokens,
                         .window_segments = rule.window_segments,
                         .sequence_tokens = sequence_tokens};
  if (document_offsets.empty()) return view;
  const bool ascending = std::is_sorted(document_offsets.begin(), document_offsets.end());
  if (document_offsets.size() < 2 || document_offsets.front() != 0 || document_offsets.back() != sequence_tokens ||
      !ascending) {
    throw DataError("document offsets must ascend from 0 to the sequence length " + std::to_string(sequence_tokens));
  }
  view.document_offsets = document_offsets.data();
  view.num_documents = static_cast<std::int64_t>(document_offsets.size()) - 1;
  return view;
}

AttentionMask::AttentionMask(Rule rule, std::int64_t sequence_tokens, std::vector<std::int64_t> document_offsets)
    : document_offsets_(std::move(document_offsets)), view_(view_of(rule, sequence_tokens, document_offsets_)) {}

MaskCoverage coverage(const AttentionMaskView& mask, const TokenRun& queries, const TokenRun& keys) {
  if (queries.count == 0 || keys.count == 0 || !run_attends(mask, queries, keys)) return MaskCoverage::None;
  // Both ends are monotone: what every query sees lies between the last query's begin and the first query's end.
  const bool all = mask.keys_of(queries.global_last()).begin <= keys.global_first &&
                   mask.keys_of(queries.global_first).end > keys.global_last();
  return all ? MaskCoverage::All : MaskCoverage::Partial;
}

bool attends(const AttentionMaskView& mask, const TokenRuns& queries, const TokenRuns& keys) {
  for (const TokenRun& q : queries) {
    for (const TokenRun& k : keys) {
      if (run_attends(mask, q, k)) return true;
    }
  }
  return false;
}

std::int64_t count_pairs(const AttentionMaskView& mask, const TokenRuns& queries, const TokenRuns& keys) {
  std::int64_t pairs = 0;
  for (const TokenRun& q : queries) {
    for (std::int64_t index = 0; index < q.count; ++index) {
      const KeyInterval visible = mask.keys_of(q.global_of(index));
      for (const TokenRun& k : keys) {
        const KeyInterval inside = clip_to_run(visible, k);
        pairs += std::max<std::int64_t>(0, inside.end - inside.begin);
      }
    }
  }
  return pairs;
}

}  // namespace rondo

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

// Only queries whose interval overlaps the extent of the keys are checked; for dense keys the first of them decides.
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
  // Both ends are monotone: the keys that every query sees lie between the last query's begin and the first query's end.
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

namespace {

/// sum of floor((a i + b) / m) over 0 <= i < n, by Euclid's algorithm. @pre m > 0, a >= 0, b >= 0
std::int64_t floor_sum(std::int64_t n, std::int64_t m, std::int64_t a, std::int64_t b) {
  std::int64_t sum = 0;
  while (n > 0) {
    sum += n * (n - 1) / 2 * (a / m) + n * (b / m);
    a %= m;
    b %= m;
    const std::int64_t last = a * n + b;
    if (last < m) break;
    n = last / m;
    b = last % m;
    std::swap(m, a);
  }
  return sum;
}

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }  // @pre a >= 0

/// The number of keys of a run before position + shift, summed over the positions of the queries.
std::int64_t keys_before(const TokenRun& queries, std::int64_t shift, const TokenRun& keys) {
  const std::int64_t distance = queries.global_first + shift - keys.global_first;  // of the first query
  const std::int64_t s = queries.stride, t = keys.stride;
  // per query: 0 up to distance 0, all from distance (count - 1) stride + 1 on, ceil(distance / stride) between
  const std::int64_t some = distance > 0 ? 0 : -distance / s + 1;
  const std::int64_t most = (keys.count - 1) * t + 1 - distance;
  const std::int64_t all = most <= 0 ? 0 : ceil_div(most, s);
  const std::int64_t first = std::min(some, queries.count), end = std::clamp(all, first, queries.count);
  const std::int64_t ramp = floor_sum(end - first, t, s, distance + first * s + t - 1);
  return ramp + (queries.count - end) * keys.count;
}

/// The queries of a run at positions [begin, end).
TokenRun part_of(const TokenRun& run, std::int64_t begin, std::int64_t end) {
  const KeyInterval inside = clip_to_run({begin, end}, run);
  return {run.global_of(inside.begin), run.stride, inside.end - inside.begin, run.local_first + inside.begin};
}

/// The number of keys of a run before a fixed position.
std::int64_t keys_before(std::int64_t position, const TokenRun& keys) {
  return clip_to_run({keys.global_first, position}, keys).end;
}

/// Pairs of queries whose intervals begin at `begin`, or later if windowed: keys before the ends minus keys before the begins.
std::int64_t pairs_from(const AttentionMaskView& mask, std::int64_t begin, std::int64_t document_end,
                        const TokenRun& queries, const TokenRun& keys) {
  if (queries.count == 0) return 0;
  const bool ends_at_query = mask.causal || mask.window > 0;
  const std::int64_t before_end =
      ends_at_query ? keys_before(queries, 1, keys) : queries.count * keys_before(document_end, keys);
  if (mask.window == 0) return before_end - queries.count * keys_before(begin, keys);
  const TokenRun early = part_of(queries, queries.global_first, begin + mask.window);
  const TokenRun late = part_of(queries, begin + mask.window, queries.global_last() + 1);
  return before_end - early.count * keys_before(begin, keys) - keys_before(late, 1 - mask.window, keys);
}

}  // namespace

std::int64_t count_pairs(const AttentionMaskView& mask, const TokenRuns& queries, const TokenRuns& keys) {
  std::int64_t pairs = 0;
  for (const TokenRun& run : queries) {
    // in pieces of queries whose intervals, before mask.window, have the same begin: a document, or one of its segments
    for (std::int64_t position = run.global_first; position <= run.global_last();) {
      const KeyInterval document = mask.document_of(position);
      std::int64_t begin = document.begin, end = document.end;
      if (mask.segment_tokens > 0) {
        const std::int64_t segment = (position - document.begin) / mask.segment_tokens;
        begin += std::max<std::int64_t>(0, segment - mask.window_segments) * mask.segment_tokens;
        const std::int64_t whole =
            std::max(segment, mask.window_segments) + 1;  // segments whose queries see the document from its begin
        end = std::min(end, document.begin + whole * mask.segment_tokens);
      }
      const TokenRun piece = part_of(run, position, end);
      for (const TokenRun& k : keys) pairs += pairs_from(mask, begin, document.end, piece, k);
      position = piece.global_last() + run.stride;
    }
  }
  return pairs;
}

}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
// Which keys a query sees. Every mask of Rondo is one interval of global positions per query, and neither end of the interval
// decreases as the query position increases; kernels, ring schedule and tests rely on this alone.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "core/host_device.hpp"
#include "core/token_runs.hpp"

namespace rondo {

/// Global key positions begin <= j < end.
struct KeyInterval {
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

enum class MaskCoverage { None, Partial, All };

/// Plain data, also for device code. `document_offsets` (first 0, last sequence_tokens) may be null: one document.
struct AttentionMaskView {
  bool causal = true;
  std::int64_t window = 0;          ///< 0: none; W: a query sees keys with 0 <= i - j < W
  std::int64_t segment_tokens = 0;  ///< 0: none; documents are cut into segments of this many tokens, from their starts
  std::int64_t window_segments = 0;  ///< with segments: a query sees its own segment and this many before it
  std::int64_t sequence_tokens = 0;  ///< the length of the whole sequence
  const std::int64_t* document_offsets = nullptr;
  std::int64_t num_documents = 0;

  /// The positions of the document that contains position i.
  RONDO_HOST_DEVICE KeyInterval document_of(std::int64_t i) const {
    if (document_offsets == nullptr) return {0, sequence_tokens};
    const std::int64_t* after = upper_bound(i);
    return {*(after - 1), *after};
  }
  /// The keys that the query at global position i sees: those of its document, not in the future, inside the window.
  RONDO_HOST_DEVICE KeyInterval keys_of(std::int64_t i) const {
    KeyInterval keys = document_of(i);
    if (segment_tokens > 0) {
      const std::int64_t segment = (i - keys.begin) / segment_tokens;
      if (segment > window_segments) keys.begin += (segment - window_segments) * segment_tokens;
    }
    if (causal || window > 0) keys.end = i + 1 < keys.end ? i + 1 : keys.end;
    if (window > 0 && i - window + 1 > keys.begin) keys.begin = i - window + 1;
    return keys;
  }

 private:
  // First offset greater than i, by bisection.
  RONDO_HOST_DEVICE const std::int64_t* upper_bound(std::int64_t i) const {
    std::int64_t low = 0, high = num_documents;  // document_offsets[num_documents] > i always
    while (low < high) {
      const std::int64_t middle = (low + high) / 2;
      if (document_offsets[middle] > i) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    return document_offsets + low;
  }
};

/// A mask that owns its document offsets.
class AttentionMask {
 public:
  struct Rule {
    bool causal = true;
    std::int64_t window = 0;
    std::int64_t segment_tokens = 0;
    std::int64_t window_segments = 0;
  };
  /// A mask over document offsets of the caller, which must outlive the view.
  /// @param document_offsets ascending, first 0, last sequence_tokens; empty: one document. Throws DataError otherwise.
  static AttentionMaskView view_of(Rule rule, std::int64_t sequence_tokens,
                                   std::span<const std::int64_t> document_offsets);
  AttentionMask(Rule rule, std::int64_t sequence_tokens, std::vector<std::int64_t> document_offsets = {});

  const AttentionMaskView& view() const { return view_; }
  KeyInterval keys_of(std::int64_t query) const { return view_.keys_of(query); }
  std::span<const std::int64_t> document_offsets() const { return document_offsets_; }

  AttentionMask(const AttentionMask&) = delete;
  AttentionMask& operator=(const AttentionMask&) = delete;
  AttentionMask(AttentionMask&&) noexcept = default;
  AttentionMask& operator=(AttentionMask&&) noexcept = default;

 private:
  std::vector<std::int64_t> document_offsets_;
  AttentionMaskView view_;
};

/// Whether the queries of a run see all, some or none of the keys of another run. None and All are exact.
MaskCoverage coverage(const AttentionMaskView& mask, const TokenRun& queries, const TokenRun& keys);
/// Whether any query of one shard sees any key of the other. Exact.
bool attends(const AttentionMaskView& mask, const TokenRuns& queries, const TokenRuns& keys);
/// Number of (query, key) pairs that attend: the work of a block. Takes time linear in the numbers of documents and segments.
std::int64_t count_pairs(const AttentionMaskView& mask, const TokenRuns& queries, const TokenRuns& keys);

/// The indices [begin, end) of the run's tokens whose positions lie in the interval.
RONDO_HOST_DEVICE inline KeyInterval clip_to_run(const KeyInterval& keys, const TokenRun& run) {
  const auto index_at = [&run](std::int64_t position) {
    const std::int64_t distance = position - run.global_first;
    const std::int64_t index = distance <= 0 ? 0 : (distance + run.stride - 1) / run.stride;
    return index < run.count ? index : run.count;
  };
  return {index_at(keys.begin), index_at(keys.end)};
}

}  // namespace rondo

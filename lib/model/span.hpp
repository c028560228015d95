// SPDX-License-Identifier: Apache-2.0
// The interval of positions that the ring processes at once: who owns which position, who sees whom, who
// sends what when.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "core/attention_mask.hpp"
#include "core/sequence_layout.hpp"
#include "model/memory_chain.hpp"
#include "model/ring_schedule.hpp"

namespace rondo {

class Span {
 public:
  /// @param document_offsets packed documents that do not see each other, read as long as the span lives; empty: one
  /// With segments in the rule, layers with a memory see by segments, and all others as if there were none.
  /// @param sequence_tokens  of the whole sequence, which the document offsets belong to; 0: it ends with the span
  Span(const SequenceLayout& layout, AttentionMask::Rule rule, int ring_rank,
       std::span<const std::int64_t> document_offsets = {}, std::int64_t sequence_tokens = 0)
      : layout_(layout),
        sequence_tokens_(sequence_tokens > 0 ? sequence_tokens : layout.end_position()),
        mask_(
            AttentionMask::view_of({.causal = rule.causal, .window = rule.window}, sequence_tokens_, document_offsets)),
        schedule_(layout, mask_, ring_rank),
        runs_(layout.runs(ring_rank)) {
    if (rule.segment_tokens == 0) return;
    segment_mask_ = AttentionMask::view_of(rule, sequence_tokens_, document_offsets);
    memory_.emplace(layout, segment_mask_, ring_rank);
  }
  Span(const SequenceLayout&, AttentionMask::Rule, int, std::vector<std::int64_t>&&) = delete;  // would not live on

  const SequenceLayout& layout() const { return layout_; }
  const AttentionMaskView& mask() const { return mask_; }
  const RingSchedule& schedule() const { return schedule_; }
  /// Of layers with a memory. @pre the rule has segments
  const AttentionMaskView& segment_mask() const { return segment_mask_; }
  const MemoryChain& memory() const { return *memory_; }
  /// This rank's positions.
  const TokenRuns& runs() const { return runs_; }
  std::int64_t num_tokens() const { return runs_.num_tokens(); }
  /// (query, key) pairs that attend under a mask of this span, over the queries of this rank: its work. Takes time linear in
  /// the documents and segments of the sequence.
  double attended_pairs(const AttentionMaskView& mask) const {
    return static_cast<double>(count_pairs(mask, runs_, TokenRuns::contiguous(0, sequence_tokens_)));
  }

 private:
  SequenceLayout layout_;
  std::int64_t sequence_tokens_;
  AttentionMaskView mask_;
  RingSchedule schedule_;
  TokenRuns runs_;
  AttentionMaskView segment_mask_;
  std::optional<MemoryChain> memory_;
};

}  // namespace rondo

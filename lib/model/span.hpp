// SPDX-License-Identifier: Apache-2.0
// The interval of positions that the ring processes at once: which rank owns which position, and where documents begin. It
// provides the masks and plans that layers need.
#pragma once

#include <memory>
#include <span>
#include <typeindex>
#include <vector>

#include "core/attention_mask.hpp"
#include "core/sequence_layout.hpp"
#include "model/ring_schedule.hpp"

namespace rondo {

class Span {
 public:
  /// @param rule  of exact attention  @param document_offsets  of packed documents, which do not attend to each other; must
  /// outlive the span; empty: one document  @param sequence_tokens  the length of the whole sequence, which the offsets refer
  /// to; 0: the sequence ends with the span
  Span(const SequenceLayout& layout, const AttentionMask::Rule& rule, int ring_rank,
       std::span<const std::int64_t> document_offsets = {}, std::int64_t sequence_tokens = 0)
      : layout_(layout),
        rule_(rule),
        ring_rank_(ring_rank),
        document_offsets_(document_offsets),
        sequence_tokens_(sequence_tokens > 0 ? sequence_tokens : layout.end_position()),
        mask_(mask(rule)),
        runs_(layout.runs(ring_rank)) {}
  Span(const SequenceLayout&, const AttentionMask::Rule&, int,
       std::vector<std::int64_t>&&) = delete;  // a temporary would not outlive the span

  const SequenceLayout& layout() const { return layout_; }
  /// This rank's positions.
  const TokenRuns& runs() const { return runs_; }
  std::int64_t num_tokens() const { return runs_.num_tokens(); }

  /// Which keys a query attends to under a given rule, within the documents of the sequence.
  AttentionMaskView mask(const AttentionMask::Rule& rule) const {
    return AttentionMask::view_of(rule, sequence_tokens_, document_offsets_);
  }
  /// A plan that is a pure function of layout and mask, such as RingSchedule. Made at the first call, which all ranks make
  /// alike, and cached for the lifetime of the span.
  template <typename Plan> const Plan& plan(const AttentionMask::Rule& rule) const {
    for (const CachedPlan& cached : plans_) {
      if (cached.type == typeid(Plan) && is_same(cached.rule, rule))
        return *static_cast<const Plan*>(cached.plan.get());
    }
    plans_.push_back({typeid(Plan), rule, std::make_shared<const Plan>(layout_, mask(rule), ring_rank_)});
    return *static_cast<const Plan*>(plans_.back().plan.get());
  }

  // of exact attention
  const AttentionMaskView& mask() const { return mask_; }
  const RingSchedule& schedule() const { return plan<RingSchedule>(rule_); }

  /// The number of (query, key) pairs that attend under a mask of this span, over the queries of this rank. Takes time linear
  /// in the documents and segments of the sequence.
  double attended_pairs(const AttentionMaskView& mask) const {
    return static_cast<double>(count_pairs(mask, runs_, TokenRuns::contiguous(0, sequence_tokens_)));
  }

 private:
  struct CachedPlan {
    std::type_index type;
    AttentionMask::Rule rule;
    std::shared_ptr<const void> plan;
  };

  static bool is_same(const AttentionMask::Rule& a, const AttentionMask::Rule& b) {
    return a.causal == b.causal && a.window == b.window && a.segment_tokens == b.segment_tokens &&
           a.window_segments == b.window_segments;
  }

  SequenceLayout layout_;
  AttentionMask::Rule rule_;
  int ring_rank_;
  std::span<const std::int64_t> document_offsets_;
  std::int64_t sequence_tokens_;
  AttentionMaskView mask_;
  TokenRuns runs_;
  mutable std::vector<CachedPlan> plans_;
};

}  // namespace rondo

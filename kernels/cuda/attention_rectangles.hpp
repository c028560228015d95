// SPDX-License-Identifier: Apache-2.0
// What a block of queries sees of a block of keys, cut into a few rectangles of local rows that a library kernel can
// compute: all pairs, or a causal square. A pure function of mask and positions.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "core/attention_mask.hpp"

namespace rondo::cuda {

/// Full: each query sees each key. Causal: a square in which query i sees the keys 0 to i.
enum class RectangleKind { Full, Causal };

struct AttentionRectangle {
  RectangleKind kind = RectangleKind::Full;
  std::int64_t query_begin = 0, num_queries = 0;
  std::int64_t key_begin = 0, num_keys = 0;

  bool operator==(const AttentionRectangle&) const = default;
};

/// At most kMost rectangles that do not overlap.
class AttentionRectangles {
 public:
  static constexpr int kMost = 8;

  /// @returns false when there is no room.
  bool append(const AttentionRectangle& rectangle) {
    if (count_ == kMost) return false;
    rectangles_[static_cast<std::size_t>(count_++)] = rectangle;
    return true;
  }
  int count() const { return count_; }
  const AttentionRectangle& operator[](int i) const { return rectangles_[static_cast<std::size_t>(i)]; }
  const AttentionRectangle* begin() const { return rectangles_.data(); }
  const AttentionRectangle* end() const { return rectangles_.data() + count_; }
  bool operator==(const AttentionRectangles&) const = default;

 private:
  std::array<AttentionRectangle, kMost> rectangles_{};
  int count_ = 0;
};

/// The rectangles hold every visible (query, key) pair exactly once and no other pair. Nothing when kMost of them are not
/// enough, as with a window that cuts the block, or with many segments. Takes time that grows with the rectangles and runs, not with the tokens.
std::optional<AttentionRectangles> rectangles_of(const AttentionMaskView& mask, const TokenRuns& query_runs,
                                                 const TokenRuns& key_runs);

/// Are these rectangles of a block others than those that it has without documents, and so others in every batch?
bool are_cut_by_documents(const AttentionRectangles& rectangles, const AttentionMaskView& mask,
                          const TokenRuns& query_runs, const TokenRuns& key_runs);

}  // namespace rondo::cuda

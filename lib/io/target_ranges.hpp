// SPDX-License-Identifier: Apache-2.0
// The recorded targets of a token stream: ascending ranges of positions.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <span>

namespace rondo {

/// The tokens [first, end) of a split are targets.
struct TargetRange {
  std::int64_t first = 0, end = 0;
  bool operator==(const TargetRange&) const = default;
};

/// Looks up whether a position is a target; fast for ascending positions.
class TargetLookup {
 public:
  /// @pre `ranges` ascend, do not touch, and outlive this
  explicit TargetLookup(std::span<const TargetRange> ranges) : ranges_(ranges) {}

  bool contains(std::int64_t position) {
    if (position < known_.first || position >= known_.end) seek(position);
    return inside_;
  }

 private:
  /// Finds the widest interval around the position with the same result.
  void seek(std::int64_t position) {
    const auto next =
        std::ranges::upper_bound(ranges_, position, {}, &TargetRange::end);  // the first that ends after it
    inside_ = next != ranges_.end() && next->first <= position;
    if (inside_) {
      known_ = *next;
      return;
    }
    known_.first = next == ranges_.begin() ? 0 : std::prev(next)->end;
    known_.end = next == ranges_.end() ? std::numeric_limits<std::int64_t>::max() : next->first;
  }

  std::span<const TargetRange> ranges_;
  TargetRange known_;
  bool inside_ = false;
};

}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
// Exclusive prefix scan over the ranks of a ring: every run of positions gets the state before it, given the update that each
// run makes to a state. It combines sums, or affine maps, which do not commute. It takes 1 + ceil(log2(number of runs)) rounds
// of messages at most (Hillis and Steele, Data parallel algorithms, CACM 29(12), 1986) and memory for two maps per own run,
// whatever the number of ranks.
//
// Round 0 sends every map to the next run. Then run i holds the composition of the d runs before it, and in rounds d = 1, 2, 4,
// ... it receives that of run i - d and composes its own after it. A composition that reaches the start of the scan or of a
// document is constant: its run receives nothing more, and it is sent without its linear part. The order of combination depends
// on the runs alone, so results do not depend on timing. All values are fp64, so messages are not rounded.
#pragma once

#include <span>
#include <vector>

#include "runtime/execution.hpp"

namespace rondo {

/// One run of positions, on any rank.
struct ScanElement {
  int rank = 0;
  bool is_reset = false;  ///< a document starts in it: the state after it does not depend on the state before it
};

/// A map of states: x -> (1 - decay) x + added, or of gradients of states: x -> (1 - decay)^T x + added.
struct AffineMap {
  TensorView added;  // [G, D, D] or [G, D] fp64
  TensorView decay;  // [G, D, D] fp64, or empty: x -> x + added
};

enum class ScanDirection {
  Forward,  ///< the state before each run, from earlier runs
  Reverse,  ///< the gradient of the state after each run, from later runs, with transposed maps
};

enum class ScanMap { Sum, Affine };

class ExclusiveScan {
 public:
  /// Takes its memory from scratch, in a scope of the caller.
  /// @param elements  the runs of all ranks, in order of positions, the same list on all ranks; must outlive the scan
  ExclusiveScan(Execution& execution, const std::vector<ScanElement>& elements, ScanDirection direction, ScanMap map,
                const Shape& state);

  /// This rank's runs, in order of positions.
  std::size_t num_own() const { return own_.size(); }
  /// The update that an own run makes to a state; the caller fills it before start(). Undefined from then on.
  const AffineMap& map(std::size_t own) const { return own_[own].sent; }

  /// Starts round 0. @param initial  the state before the first element, in the direction of the scan; empty: 0
  void start(const TensorView& initial);
  /// Communication rounds. Work between start() and the first advance(), and between two advances, overlaps with one each.
  int num_rounds() const { return static_cast<int>(rounds_.size()); }
  bool is_done() const { return next_round_ > num_rounds(); }
  /// Completes the round in flight and starts the next one; does nothing if there is none.
  void advance();
  void finish() {
    while (!is_done()) advance();
  }
  /// The result, valid after finish(); the caller may overwrite it.
  const TensorView& state(std::size_t own) const { return own_[own].held.added; }

 private:
  struct Own {
    std::size_t place;  // in the direction of the scan
    AffineMap sent;     // the own map, later the map received
    AffineMap held;     // the composition of the runs before this one
  };
  /// Which places receive in a round, each from `distance` places before it, and which places' maps are constant.
  struct Round {
    std::size_t distance;
    std::vector<bool> receives, is_constant;
  };
  void list_rounds();
  void start_round(const Round& round);
  void combine(Own& own, bool is_constant);
  const ScanElement& at(std::size_t place) const {
    return elements_[direction_ == ScanDirection::Forward ? place : elements_.size() - 1 - place];
  }
  Own* own_at(std::size_t place);

  Execution& execution_;
  const std::vector<ScanElement>& elements_;
  ScanDirection direction_;
  std::vector<Own> own_;
  std::vector<Round> rounds_;
  int next_round_ = 1;
  Pending arrival_;
};

}  // namespace rondo

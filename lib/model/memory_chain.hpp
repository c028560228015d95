// SPDX-License-Identifier: Apache-2.0
// The order in which a compressive memory passes through a span: the runs of consecutive positions of all ranks, in order of
// positions, and the keys that a rank needs besides its own. A pure function of layout and mask: all ranks compute the same.
//
// Segments are counted from the start of each document. The rank that owns the last token of segment s writes segment
// s - window_segments, the one that then leaves the window. So every whole segment that leaves it is written once, by a rank
// that has all its keys, since its queries attend to them.
#pragma once

#include <vector>

#include "core/attention_mask.hpp"
#include "core/sequence_layout.hpp"
#include "kernels/compressive_memory.hpp"
#include "model/exclusive_scan.hpp"

namespace rondo {

/// Consecutive positions of one rank.
struct MemoryRun {
  int rank = 0;
  TokenRun tokens;
  bool is_reset = false;  ///< a document starts in it: the state before the run does not reach the state after it
};

/// Keys that `from` owns and `to` needs.
struct KeyTransfer {
  int from = 0, to = 0;
  std::int64_t first = 0;  ///< global position
  std::int64_t count = 0;
};

class MemoryChain {
 public:
  /// @param mask with segments: what queries attend to exactly. Throws ConfigError for a layout whose shards are not made
  /// of consecutive positions.
  MemoryChain(const SequenceLayout& layout, const AttentionMaskView& mask, int rank);

  /// The runs of all ranks, in order of positions.
  const std::vector<MemoryRun>& runs() const { return runs_; }
  /// The same as elements of a scan over ranks.
  const std::vector<ScanElement>& scan_elements() const { return scan_elements_; }
  /// The indices of this rank's runs, and the steps of each: queries by local index, keys by their index in keys().
  const std::vector<std::size_t>& mine() const { return mine_; }
  const std::vector<MemorySchedule>& schedules() const { return schedules_; }

  /// All keys that this rank's queries attend to: its own and those of the window before each run; keys before the span first.
  const TokenRuns& keys() const { return keys_; }
  /// How many of them lie before the span.
  std::int64_t num_carried_keys() const { return num_carried_keys_; }
  /// Keys of the sequence so far that a query after the span will attend to exactly.
  const KeyInterval& next_window() const { return next_window_; }
  /// The transfers between any two ranks of the ring, in the same order on all ranks.
  const std::vector<KeyTransfer>& transfers() const { return transfers_; }

 private:
  std::vector<MemoryRun> runs_;
  std::vector<ScanElement> scan_elements_;
  std::vector<std::size_t> mine_;
  std::vector<MemorySchedule> schedules_;
  TokenRuns keys_;
  std::int64_t num_carried_keys_ = 0;
  KeyInterval next_window_;
  std::vector<KeyTransfer> transfers_;
};

/// The local index of a position in these runs. @pre one of them contains it, with stride 1
std::int64_t index_of(const TokenRuns& runs, std::int64_t position);

}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
// The only mapping between global positions of a span and (rank, local index). No padding: shards may differ in length.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "core/token_runs.hpp"

namespace rondo {

/// contiguous: rank r owns the r-th part; zigzag: parts r and 2R-1-r of 2R, which balances causal attention
/// (Llama 3, arXiv 2407.21783, section 3.3.2); striped: positions r, r+R, r+2R, ... (Striped Attention, arXiv 2311.09431);
/// block_cyclic: parts r, r+R, r+2R and r+3R of 4R, which spreads what differs along a sequence, such as its documents.
enum class LayoutKind { Contiguous, Zigzag, Striped, BlockCyclic };
inline constexpr std::array kLayoutKinds = {LayoutKind::Contiguous, LayoutKind::Zigzag, LayoutKind::Striped,
                                            LayoutKind::BlockCyclic};

std::string_view name_of(LayoutKind kind);
/// The layout that balances work over ranks: zigzag where later queries see more keys, contiguous where all see equally many.
/// @param window 0: none
LayoutKind balancing_layout(bool causal, std::int64_t window);
/// Throws ConfigError naming the known layouts.
LayoutKind layout_kind_from(std::string_view name);

class SequenceLayout {
 public:
  /// @param first_position  of the span in its sequence
  /// @pre span_tokens >= ring >= 1: every rank owns at least one token
  SequenceLayout(std::int64_t span_tokens, int ring, LayoutKind kind, std::int64_t first_position = 0);

  std::int64_t span_tokens() const { return span_tokens_; }
  std::int64_t first_position() const { return first_position_; }
  std::int64_t end_position() const { return first_position_ + span_tokens_; }
  int ring() const { return ring_; }
  LayoutKind kind() const { return kind_; }

  /// The positions of a rank's shard, ascending.
  TokenRuns runs(int rank) const;
  std::int64_t num_tokens(int rank) const { return runs(rank).num_tokens(); }
  /// The largest shard of any rank.
  std::int64_t max_tokens() const;

 private:
  std::int64_t span_tokens_;
  int ring_;
  LayoutKind kind_;
  std::int64_t first_position_;
};

}  // namespace rondo

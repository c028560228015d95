// SPDX-License-Identifier: Apache-2.0
// How attention is divided into tiles. The query heads of one key head are folded into the rows: row r of head group g is
// query token r / H, head g H + r % H, so that all of them use the same tile of keys. Each row sees one interval of the local
// keys of each key run; the intervals are computed once per call.
#pragma once

#include <cstdint>

#include "core/arena.hpp"
#include "kernels/attention.hpp"
#include "kernels/cpu/kernel_table.hpp"

namespace rondo::cpu {

/// FLOP of a forward pass in which every query sees every key.
inline double most_flop(const AttentionSizes& sizes) {
  return 4.0 * static_cast<double>(sizes.num_queries) * static_cast<double>(sizes.num_keys) *
         static_cast<double>(sizes.heads * sizes.head_dim);
}

/// Local keys [begin, end) that each query token sees in each key run. Both ends ascend with the token.
class VisibleKeys {
 public:
  /// Memory of the scratch for the intervals. @pre inside a scope of the scratch
  struct Memory {
    std::int32_t *begin, *end;
  };
  static Memory take(const TokenRuns& query_runs, const TokenRuns& key_runs, Arena& scratch);

  VisibleKeys(const TokenRuns& query_runs, const TokenRuns& key_runs, const AttentionMaskView& mask, Memory memory);

  std::int32_t begin(int run, std::int64_t token) const { return begin_[run * num_tokens_ + token]; }
  std::int32_t end(int run, std::int64_t token) const { return end_[run * num_tokens_ + token]; }

 private:
  std::int64_t num_tokens_;
  std::int32_t* begin_;
  std::int32_t* end_;
};

inline constexpr int kMaxQueryTile = 64;

/// Some consecutive rows of one head group.
struct RowTile {
  std::int64_t first_row;
  int count;
  std::int64_t first_token, last_token;
};

/// The rows of a head group, divided into tiles; the same for all groups.
struct RowTiling {
  std::int64_t num_queries;
  std::int64_t group_heads;  // H
  std::int64_t heads;
  std::int64_t head_dim;
  int tile_rows;

  RowTiling(const AttentionSizes& sizes, int rows)
      : num_queries(sizes.num_queries),
        group_heads(sizes.heads / sizes.kv_heads),
        heads(sizes.heads),
        head_dim(sizes.head_dim),
        tile_rows(rows) {}

  std::int64_t num_rows() const { return num_queries * group_heads; }
  std::int64_t num_tiles() const { return (num_rows() + tile_rows - 1) / tile_rows; }
  RowTile tile(std::int64_t index) const {
    const std::int64_t first = index * tile_rows;
    const std::int64_t count = first + tile_rows <= num_rows() ? tile_rows : num_rows() - first;
    return {first, static_cast<int>(count), first / group_heads, (first + count - 1) / group_heads};
  }

  /// Calls body(lane, token, head) for each row of a tile.
  template <typename Body> void for_each(const RowTile& tile, std::int64_t group, Body&& body) const {
    std::int64_t token = tile.first_token, member = tile.first_row % group_heads;
    for (int lane = 0; lane < tile.count; ++lane) {
      body(lane, token, group * group_heads + member);
      if (++member == group_heads) member = 0, ++token;
    }
  }
};

/// The keys [begin, end) of a run that a tile needs, and whether every row sees every one of them.
struct TileKeys {
  std::int32_t begin, end;
  bool all;
};

/// Clips the keys that a tile sees in a run to [first, last).
inline TileKeys keys_of_tile(const VisibleKeys& visible, int run, const RowTile& tile, std::int64_t first,
                             std::int64_t last) {
  const std::int64_t begin = std::max<std::int64_t>(visible.begin(run, tile.first_token), first);
  const std::int64_t end = std::min<std::int64_t>(visible.end(run, tile.last_token), last);
  const bool all = visible.begin(run, tile.last_token) <= begin && visible.end(run, tile.first_token) >= end;
  return {static_cast<std::int32_t>(begin), static_cast<std::int32_t>(end), all};
}

/// Intervals of the rows of a tile, one lane per row; lanes without a row see no key.
struct LaneKeys {
  alignas(64) std::int32_t begin[kMaxQueryTile];
  alignas(64) std::int32_t end[kMaxQueryTile];

  void fill(const VisibleKeys& visible, int run, const RowTiling& tiling, const RowTile& tile, std::int64_t group);
};

/// The scratch of one thread, handed out in aligned pieces.
class Pieces {
 public:
  explicit Pieces(void* memory) : next_(static_cast<char*>(memory)) {}
  template <typename T = void> T* take(std::size_t bytes) {
    char* piece = next_;
    next_ += padded(bytes);
    return reinterpret_cast<T*>(piece);
  }
  static std::size_t padded(std::size_t bytes) { return (bytes + 127) / 128 * 128; }

 private:
  char* next_;
};

}  // namespace rondo::cpu

// SPDX-License-Identifier: Apache-2.0
// What the fused attention kernels share: the tile of queries of a block of threads, hidden pairs, and from the head dimension
// of a call to that of a kernel.
#pragma once

#include <limits>
#include <type_traits>
#include <utility>

#include "kernels/cuda/fused_attention.hpp"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/mask_tiles.cuh"
#include "kernels/cuda/tile_mma.cuh"

namespace rondo::cuda {

/// 2^(x kLog2E) = e^x: softmax in base 2 takes one multiplication less an element.
inline constexpr float kLog2E = 1.4426950408889634F;
inline constexpr float kNothing = -std::numeric_limits<float>::infinity();

/// The smallest limit of all GPUs from sm_80 on: 99 KiB of shared memory for a block of threads (sm_86, sm_89).
inline constexpr int kMostSharedBytes = 98 * 1024;  // and 1 KiB for static variables

/// Calls body(std::integral_constant<int, D>) with a head dimension that the fused kernels are compiled for; false if there is
/// none.
template <typename Body> bool with_fused_head_dim(std::int64_t head_dim, Body&& body) {
  const auto call_if = [&]<int kDim>(std::integral_constant<int, kDim> dim) {
    if (head_dim != kDim) return false;
    body(dim);
    return true;
  };
  return [&]<std::size_t... i>(std::index_sequence<i...>) {
    return (call_if(std::integral_constant<int, kFusedHeadDims[i]>{}) || ...);
  }
  (std::make_index_sequence<kFusedHeadDims.size()>{});
}

/// The tile of queries of one head that a block of threads keeps. The last tiles come first: with a causal mask they are the
/// longest, and short ones fill the gaps at the end. All heads of a tile follow each other: those of a group read the same keys.
template <int kDim, int kQueries> struct QueryTile {
  const AttentionSizes& sizes;  // what follows from it is computed again: kernels are short of registers
  int head, group;              // of queries, of keys
  int first;                    // query

  static std::int64_t num_blocks(const AttentionSizes& sizes) {
    return (sizes.num_queries + kQueries - 1) / kQueries * sizes.heads;
  }

  __device__ explicit QueryTile(const AttentionSizes& of) : sizes(of) {
    const int heads = static_cast<int>(sizes.heads), turn = static_cast<int>(blockIdx.x);
    const int num_tiles = (static_cast<int>(sizes.num_queries) + kQueries - 1) / kQueries;
    head = turn % heads;
    group = head / (heads / static_cast<int>(sizes.kv_heads));
    first = (num_tiles - 1 - turn / heads) * kQueries;
  }

  __device__ int count() const {
    const int left = static_cast<int>(sizes.num_queries) - first;
    return left < kQueries ? left : kQueries;
  }
  __device__ int row_elements() const { return static_cast<int>(sizes.heads) * kDim; }
  /// Of the first query in a [T, N, D] tensor.
  __device__ std::int64_t element() const { return std::int64_t{first} * row_elements() + head * kDim; }
  template <int kThreads> __device__ void copy_queries(__nv_bfloat16* to, const __nv_bfloat16* from) const {
    copy_rows_async<kDim, kQueries, kThreads>(to, from + element(), row_elements(), count());
  }
  template <int kThreads, int kKeys>
  __device__ void copy_keys(__nv_bfloat16* to, const __nv_bfloat16* from, const KeyTile& keys) const {
    const int key_elements = static_cast<int>(sizes.kv_heads) * kDim;
    const std::int64_t at = std::int64_t{keys.first} * key_elements + group * kDim;
    copy_rows_async<kDim, kKeys, kThreads>(to, from + at, key_elements, keys.count<kKeys>());
  }
};

/// Calls body(m, half, row) for the rows of sums that this lane has, of the first `count` of its warp's 16 kRows rows.
template <int kRows, typename Body> __device__ void for_own_rows(int count, Body&& body) {
  RONDO_UNROLL
  for (int m = 0; m < kRows; ++m) {
    RONDO_UNROLL
    for (int half = 0; half < 2; ++half) {
      const int row = 16 * m + 8 * half + lane_row();
      if (row < count) body(m, half, row);
    }
  }
}

/// What stands for keys that a query does not see becomes `value`. Rows are queries, of which the warp has `count`; columns
/// are keys.
template <int kRows, int kColumns>
__device__ void hide(SumFragment (&pairs)[kRows][kColumns], float value, const KeyInterval* visible_to_rows, int count,
                     const KeyPositions& keys) {
  for_own_rows<kRows>(count, [&](int m, int half, int row) {
    const SeenInTile seen(visible_to_rows[row], keys);
    RONDO_UNROLL
    for (int n = 0; n < kColumns; ++n) {
      RONDO_UNROLL
      for (int e = 0; e < 2; ++e) {
        if (!seen.contains((8 * n + lane_column() + e) * keys.stride)) pairs[m][n].x[2 * half + e] = value;
      }
    }
  });
}

/// The carry and gradients hold pairs of neighbouring columns of one lane.
struct alignas(8) FloatPair {
  float x, y;
};

}  // namespace rondo::cuda

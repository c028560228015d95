// SPDX-License-Identifier: Apache-2.0
// What the fused attention kernels share: sizes of a call, and from the head dimension of a call to that of a kernel.
#pragma once

#include <limits>
#include <type_traits>

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
  switch (head_dim) {
    case 32: body(std::integral_constant<int, 32>{}); return true;
    case 64: body(std::integral_constant<int, 64>{}); return true;
    case 96: body(std::integral_constant<int, 96>{}); return true;
    case 128: body(std::integral_constant<int, 128>{}); return true;
    default: return false;
  }
}

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

/// Scores of keys that a query does not see become -inf. Rows are queries, of which the warp has `count`; columns are keys.
template <int kRows, int kColumns>
__device__ void hide_scores(SumFragment (&scores)[kRows][kColumns], const KeyInterval* visible_to_rows, int count,
                            const KeyPositions& keys) {
  for_own_rows<kRows>(count, [&](int m, int half, int row) {
    const SeenInTile seen(visible_to_rows[row], keys);
    RONDO_UNROLL
    for (int n = 0; n < kColumns; ++n) {
      RONDO_UNROLL
      for (int e = 0; e < 2; ++e) {
        if (!seen.contains((8 * n + lane_column() + e) * keys.stride)) scores[m][n].x[2 * half + e] = kNothing;
      }
    }
  });
}

/// The carry and gradients hold pairs of neighbouring columns of one lane.
struct alignas(8) FloatPair {
  float x, y;
};

}  // namespace rondo::cuda

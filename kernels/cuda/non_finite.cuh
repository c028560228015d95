// SPDX-License-Identifier: Apache-2.0
// Infinity and NaN in a tile that is seen in part. A hidden pair is a factor of 0 on the left of a product, but 0 times infinity is
// NaN: so such elements leave the tile, and the pairs that do see their row become NaN on the left instead. Only for tiles that
// are seen in part; those pay a look at what each thread has copied, tiles that are seen in full nothing.
#pragma once

#include "kernels/cuda/tile_mma.cuh"

namespace rondo::cuda {

/// The highest bit of each of two bf16 is set where that one is not finite: only an exponent of ones carries into it.
__device__ inline std::uint32_t non_finite_bits(std::uint32_t pair) {
  return ((pair & 0x7f807f80U) + 0x00800080U) & 0x80008000U;
}

/// In what this thread has copied to a tile. @pre the copies have been waited for
template <int kDim, int kRows, int kThreads> __device__ bool own_pieces_are_finite(const __nv_bfloat16* tile) {
  std::uint32_t found = 0;
  for_own_pieces<kDim, kRows, kThreads>([&](int row, int column) {
    const uint4 piece = *reinterpret_cast<const uint4*>(tile + row * kTileStride<kDim> + column);
    found |= non_finite_bits(piece.x) | non_finite_bits(piece.y) | non_finite_bits(piece.z) | non_finite_bits(piece.w);
  });
  return found == 0;
}

/// A barrier. @returns whether tiles hold what is not finite, looked for if they are seen in part; in all threads the same
/// @pre each thread's copies to the tiles have been waited for
template <int kDim, int kRows, int kThreads, typename... Tiles>
__device__ bool meet_and_look(bool all_see, const Tiles*... tiles) {
  if (all_see) {
    __syncthreads();
    return false;
  }
  return __syncthreads_or(!(own_pieces_are_finite<kDim, kRows, kThreads>(tiles) && ...)) != 0;
}

/// See above. Column i of `left` is the factor of row i of the tile, 0 where the pair is hidden. Begins and ends with a barrier.
/// @pre all threads of the block call
template <int kDim, int kThreads, int M, int N>
__device__ void move_non_finite(SumFragment (&left)[M][N], __nv_bfloat16* tile) {
  __syncthreads();
  RONDO_UNROLL
  for (int n = 0; n < N; ++n) {
    RONDO_UNROLL
    for (int e = 0; e < 2; ++e) {
      const __nv_bfloat16* row = tile + (8 * n + lane_column() + e) * kTileStride<kDim>;
      std::uint32_t found = 0;
      for (int d = 0; d < kDim; d += 2) found |= non_finite_bits(*reinterpret_cast<const std::uint32_t*>(row + d));
      RONDO_UNROLL
      for (int m = 0; m < M; ++m) {
        RONDO_UNROLL
        for (int i = e; i < 4; i += 2) {
          if (found != 0 && left[m][n].x[i] != 0) left[m][n].x[i] = nanf("");
        }
      }
    }
  }
  __syncthreads();
  constexpr int kPairs = kDim / 2;  // in a row
  for (int i = static_cast<int>(threadIdx.x); i < 8 * N * kPairs; i += kThreads) {
    auto* pair = reinterpret_cast<std::uint32_t*>(tile + i / kPairs * kTileStride<kDim> + i % kPairs * 2);
    *pair &= ~((non_finite_bits(*pair) >> 15) * 0xffffU);
  }
  __syncthreads();
}

}  // namespace rondo::cuda

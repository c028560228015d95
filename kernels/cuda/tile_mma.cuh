// SPDX-License-Identifier: Apache-2.0
// Products of bf16 tiles on tensor cores (mma.sync, sm_80 and up). A tile is row-major in shared memory; a warp holds pieces
// of it in registers, spread over its lanes as the instructions want it. Everything that knows that spread is in this file.
// Notation: lane = 4 g + c, with g = lane / 4 in 0..7 and c = lane % 4.
#pragma once

#include <cuda_bf16.h>

#include "kernels/cuda/warp_instructions.cuh"

namespace rondo::cuda {

/// Elements from one row of a tile to the next. The 8 elements behind each row put the 8 rows that ldmatrix reads at once,
/// 16 bytes of each, into different banks: an odd number of 16-byte pieces lies between them.
template <int kDim> inline constexpr int kTileStride = kDim + 8;
template <int kDim> inline constexpr int kTileRowBytes = 2 * kTileStride<kDim>;

/// Sums of a product, 16 rows x 8 columns in fp32: element e of a lane is in row g + 8 (e / 2), column 2 c + e % 2.
struct SumFragment {
  float x[4] = {0, 0, 0, 0};
};

inline __device__ int lane_row() { return static_cast<int>(threadIdx.x % 32 / 4); }
inline __device__ int lane_column() { return static_cast<int>(threadIdx.x % 4 * 2); }

/// Rows [row, row + 16), columns [column, column + 16) of a tile as left operand. The four 8 x 8 matrices of ldmatrix are:
/// upper rows, lower rows, then the same 8 columns on.
template <int kDim> __device__ LeftFragment left_of(const __nv_bfloat16* tile, int row, int column) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  return {load_matrices<Transposed::No>(tile + (row + lane % 16) * kTileStride<kDim> + column + lane / 16 * 8)};
}

/// Two right operands, 16 x 8 each.
struct RightPair {
  RightFragment first, second;
};

/// right[k, n] = tile[row + n, column + k]: the columns of the operand are 16 rows of the tile, so nothing is transposed.
template <int kDim> __device__ RightPair right_of_rows(const __nv_bfloat16* tile, int row, int column) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  const __nv_bfloat16* mine = tile + (row + lane / 16 * 8 + lane % 8) * kTileStride<kDim> + column + lane / 8 % 2 * 8;
  const Matrices loaded = load_matrices<Transposed::No>(mine);
  return {{loaded.x[0], loaded.x[1]}, {loaded.x[2], loaded.x[3]}};
}

/// right[k, n] = tile[row + k, column + n], for 16 columns of the tile.
template <int kDim> __device__ RightPair right_of_columns(const __nv_bfloat16* tile, int row, int column) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  const __nv_bfloat16* mine = tile + (row + lane % 16) * kTileStride<kDim> + column + lane / 16 * 8;
  const Matrices loaded = load_matrices<Transposed::Yes>(mine);
  return {{loaded.x[0], loaded.x[1]}, {loaded.x[2], loaded.x[3]}};
}

/// sums += left right^T: 16 M rows of one tile times 8 N rows of the other. @pre N is even
template <int kDim, int M, int N>
__device__ void add_product_of_rows(SumFragment (&sums)[M][N], const __nv_bfloat16* left, const __nv_bfloat16* right) {
  RONDO_UNROLL
  for (int k = 0; k < kDim; k += 16) {
    LeftFragment rows[M];
    RONDO_UNROLL
    for (int m = 0; m < M; ++m) rows[m] = left_of<kDim>(left, 16 * m, k);
    RONDO_UNROLL
    for (int n = 0; n < N; n += 2) {
      const RightPair columns = right_of_rows<kDim>(right, 8 * n, k);
      RONDO_UNROLL
      for (int m = 0; m < M; ++m) {
        multiply_add(sums[m][n].x, rows[m], columns.first);
        multiply_add(sums[m][n + 1].x, rows[m], columns.second);
      }
    }
  }
}

/// sums += left right: 16 M x 8 N in registers times a tile of 8 N rows. @pre N is even
/// The registers of two neighbouring sums are those of one left operand, so what is in registers never goes through memory.
template <int kDim, int M, int N>
__device__ void add_product_of_columns(SumFragment (&sums)[M][kDim / 8], const SumFragment (&left)[M][N],
                                       const __nv_bfloat16* right) {
  RONDO_UNROLL
  for (int n = 0; n < N; n += 2) {
    LeftFragment rows[M];
    RONDO_UNROLL
    for (int m = 0; m < M; ++m) {
      const float *even = left[m][n].x, *odd = left[m][n + 1].x;
      rows[m] = {{{pack(even[0], even[1]), pack(even[2], even[3]), pack(odd[0], odd[1]), pack(odd[2], odd[3])}}};
    }
    RONDO_UNROLL
    for (int d = 0; d < kDim; d += 16) {
      const RightPair columns = right_of_columns<kDim>(right, 8 * n, d);
      RONDO_UNROLL
      for (int m = 0; m < M; ++m) {
        multiply_add(sums[m][d / 8].x, rows[m], columns.first);
        multiply_add(sums[m][d / 8 + 1].x, rows[m], columns.second);
      }
    }
  }
}

/// Over the four lanes that share a row of sums; always the same order.
template <typename Combine> __device__ float across_row(float value, Combine combine) {
  value = combine(value, __shfl_xor_sync(0xffffffffU, value, 1));
  return combine(value, __shfl_xor_sync(0xffffffffU, value, 2));
}

/// body(row, column) for the 16-byte pieces of a tile of kRows rows that this thread copies. @pre all kThreads threads call
template <int kDim, int kRows, int kThreads, typename Body> __device__ void for_own_pieces(Body&& body) {
  constexpr int kPieces = kDim / 8;           // in a row
  constexpr int kLanes = kPieces & -kPieces;  // threads per row: the largest power of two that divides the pieces
  constexpr int kRowsAtOnce = kThreads / kLanes;
  static_assert(kRows % kRowsAtOnce == 0, "every thread copies equally many pieces");
  const int thread = static_cast<int>(threadIdx.x), first_row = thread / kLanes, first_column = thread % kLanes * 8;
  RONDO_UNROLL
  for (int row = 0; row < kRows; row += kRowsAtOnce) {
    RONDO_UNROLL
    for (int column = 0; column < kDim; column += 8 * kLanes) body(first_row + row, first_column + column);
  }
}

/// Copies the first `count` rows of kDim elements, `row_elements` apart, to a tile of kRows rows; those after them become zero.
/// Done when the copies are waited for and the block has met a barrier.
/// @pre count > 0; rows are aligned to 16 bytes; all kThreads threads call
template <int kDim, int kRows, int kThreads>
__device__ void copy_rows_async(__nv_bfloat16* tile, const __nv_bfloat16* from, int row_elements, int count) {
  for_own_pieces<kDim, kRows, kThreads>([&](int row, int column) {
    const __nv_bfloat16* source = from + std::int64_t{row} * row_elements + column;  // never read where there is no row
    copy_async<16>(tile + row * kTileStride<kDim> + column, source, row < count);
  });
}

}  // namespace rondo::cuda

// SPDX-License-Identifier: Apache-2.0
// Products of small matrices in the accumulator type, without tensor cores: fp32 features rounded to bf16 or TF32 would not fit
// the tolerance rule. A block of threads has a tile of 64 x 64 sums, 4 x 4 of them a thread, and walks the depth 32 at a time
// through shared memory. What limits it is the rate of fp32 multiply-adds, a fifteenth of that of tensor cores.
#pragma once

#include "kernels/cuda/packs.cuh"

namespace rondo::cuda {

inline constexpr int kProductTile = 64, kProductDepth = 32, kProductThreads = 256;

/// Elements of an operand that neighbour in memory, in the accumulator type.
template <typename Sum> using ProductPack = Pack<Sum, 4>;

/// Shared memory of a block; 4 elements more than a tile keep packs aligned and spread what is stored along the depth.
template <typename Sum> struct ProductStage {
  static constexpr int kStride = kProductTile + 4;
  alignas(16) Sum left[kProductDepth][kStride];
  alignas(16) Sum right[kProductDepth][kStride];
};

/// Which index of an operand neighbours in memory: packs lie along it.
enum class Along { Depth, Width };

/// The sums of a thread, rows [row(), row() + 4) and columns [column(), column() + 4) of a tile of which so many count.
template <typename Sum> struct ProductSums {
  int rows, columns;
  ProductPack<Sum> x[4] = {};

  __device__ ProductSums(int num_rows, int num_columns) : rows(num_rows), columns(num_columns) {}

  static __device__ int row() { return static_cast<int>(threadIdx.x) / 16 * 4; }
  static __device__ int column() { return static_cast<int>(threadIdx.x) % 16 * 4; }

  __device__ bool has_any() const { return row() < rows && column() < columns; }
  /// body(row, first column, sums) for the rows of this thread that count; of the sums perhaps only the first do.
  template <typename Body> __device__ void for_each_row(Body&& body) const {
    if (!has_any()) return;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (row() + i < rows) body(row() + i, column(), x[i]);
    }
  }
};

/// A thread moves two packs. Along the depth they are transposed on the way.
template <Along kAlong, typename Sum, int kStride, typename Operand>
__device__ void stage_operand(Sum (&tile)[kProductDepth][kStride], int first, Operand&& operand) {
#pragma unroll
  for (int i = 0; i < kProductDepth * kProductTile / 4 / kProductThreads; ++i) {
    const int at = static_cast<int>(threadIdx.x) + i * kProductThreads;
    if constexpr (kAlong == Along::Width) {
      const int depth = at / (kProductTile / 4), width = at % (kProductTile / 4) * 4;
      store_pack(&tile[depth][width], operand(first + depth, width), 4, true);
    } else {
      const int depth = at % (kProductDepth / 4) * 4, width = at / (kProductDepth / 4);
      const ProductPack<Sum> pack = operand(first + depth, width);
#pragma unroll
      for (int j = 0; j < 4; ++j) tile[depth + j][width] = pack.values[j];
    }
  }
}

/// sums[row, column] += sum over `depth` of left[depth, row] right[depth, column]. left(depth, row) and right(depth, column) give
/// packs, with 0 outside of their matrices. Every 32 terms are a sum of their own: a single chain would gather the roundings of them
/// all. @pre all threads of the block call
template <Along kLeft, Along kRight, typename Sum, typename Left, typename Right>
__device__ void add_product(ProductSums<Sum>& sums, ProductStage<Sum>& stage, int depth, Left&& left, Right&& right) {
  for (int first = 0; first < depth; first += kProductDepth) {
    __syncthreads();  // what was staged before has been read
    stage_operand<kLeft>(stage.left, first, left);
    stage_operand<kRight>(stage.right, first, right);
    __syncthreads();
    if (!sums.has_any()) continue;
    ProductPack<Sum> part[4] = {};
    const int count = depth - first < kProductDepth ? depth - first : kProductDepth;
#pragma unroll 8
    for (int k = 0; k < count; ++k) {
      const ProductPack<Sum> a = load_pack<4>(&stage.left[k][ProductSums<Sum>::row()], 4, true);
      const ProductPack<Sum> b = load_pack<4>(&stage.right[k][ProductSums<Sum>::column()], 4, true);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) part[i].values[j] += a.values[i] * b.values[j];
      }
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) sums.x[i].values[j] += part[i].values[j];
    }
  }
}

/// Which tile of which product a block has: the tiles of a row follow each other, then the rows of a head, heads and steps.
struct ProductGrid {
  std::int64_t steps;
  int heads, rows, columns;  // extent of each product

  std::int64_t row_tiles() const { return (rows + kProductTile - 1) / kProductTile; }
  std::int64_t column_tiles() const { return (columns + kProductTile - 1) / kProductTile; }
  LaunchShape launch_shape() const {
    return {.blocks = steps * heads * row_tiles() * column_tiles(), .threads = kProductThreads};
  }
};

struct ProductTile {
  std::int64_t step;
  int head, first_row, first_column;

  __device__ explicit ProductTile(const ProductGrid& grid) {
    const auto tiles_of_row = static_cast<unsigned>((grid.columns + kProductTile - 1) / kProductTile);
    const auto tiles_of_column = static_cast<unsigned>((grid.rows + kProductTile - 1) / kProductTile);
    unsigned rest = blockIdx.x;
    first_column = static_cast<int>(rest % tiles_of_row) * kProductTile;
    rest /= tiles_of_row;
    first_row = static_cast<int>(rest % tiles_of_column) * kProductTile;
    rest /= tiles_of_column;
    head = static_cast<int>(rest % static_cast<unsigned>(grid.heads));
    step = rest / static_cast<unsigned>(grid.heads);
  }
};

}  // namespace rondo::cuda

// SPDX-License-Identifier: Apache-2.0
// Small matrix products in cache, the core of the attention kernels: c [rows, columns] = or += a [rows, depth] b [depth,
// columns]. a is broadcast element by element with free strides, b and c are read along rows. Operands are fp32, packed
// and padded by the caller; included only by the files that are compiled once for each instruction set.
#pragma once

#include <cstddef>

namespace rondo::cpu {
namespace {

/// How a sum is combined with c. Sums start from zero and not from c, for a smaller rounding error.
enum class Into {
  Set,
  Add,
  ScaleAndAdd,  // the rows of c are scaled first
};

struct ProductArgs {
  const float* a;
  std::ptrdiff_t a_row, a_depth;  // distances between elements; one of the two is 1
  const float* b;
  std::ptrdiff_t b_depth;
  float* c;
  std::ptrdiff_t c_row;
  const float* row_scale;  // for Into::ScaleAndAdd
};

/// Rows of c that one register block covers when it is `columns` vectors wide: as many as registers allow.
template <class V> constexpr int block_rows(int columns) {
  if (V::kRegisters == 32) return columns == 4 ? 6 : columns == 3 ? 8 : 12;
  return columns == 3 ? 4 : columns == 2 ? 6 : 8;
}
/// Maximum number of vectors of a row that one register block covers.
template <class V> constexpr int kBlockColumns = V::kRegisters == 32 ? 4 : 3;

/// Combines a vector of finished sums with c.
template <class V, Into kInto> inline void store_sum(float* c, typename V::Float sum, const float* row_scale) {
  if constexpr (kInto == Into::Set) V::store(c, sum);
  if constexpr (kInto == Into::Add) V::store(c, V::add(V::load(c), sum));
  if constexpr (kInto == Into::ScaleAndAdd) V::store(c, V::fma(V::load(c), V::broadcast(*row_scale), sum));
}

template <class V, int kRows, int kColumns, bool kDepthContiguous, Into kInto>
inline __attribute__((always_inline)) void product_block(const ProductArgs& p, int depth) {
  typename V::Float sum[kRows][kColumns];
  const std::ptrdiff_t a_row = kDepthContiguous ? p.a_row : 1;
  const std::ptrdiff_t a_depth = kDepthContiguous ? 1 : p.a_depth;
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int j = 0; j < kColumns; ++j) sum[r][j] = V::zero();
  }
  const float* a = p.a;
  const float* b = p.b;
  for (int d = 0; d < depth; ++d, a += a_depth, b += p.b_depth) {
    typename V::Float row[kColumns];
#pragma GCC unroll 4
    for (int j = 0; j < kColumns; ++j) row[j] = V::load(b + j * V::kWidth);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const auto x = V::broadcast(a[r * a_row]);
#pragma GCC unroll 4
      for (int j = 0; j < kColumns; ++j) sum[r][j] = V::fma(x, row[j], sum[r][j]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int j = 0; j < kColumns; ++j) {
      store_sum<V, kInto>(p.c + r * p.c_row + j * V::kWidth, sum[r][j], p.row_scale + r);
    }
  }
}

template <class V, int kColumns, bool kDepthContiguous, Into kInto>
void product_strip(ProductArgs p, int rows, int depth) {
  constexpr int kRows = block_rows<V>(kColumns);
  for (int r = 0; r < rows; r += kRows) {
    product_block<V, kRows, kColumns, kDepthContiguous, kInto>(p, depth);
    p.a += kRows * (kDepthContiguous ? p.a_row : 1);
    p.c += kRows * p.c_row;
    if constexpr (kInto == Into::ScaleAndAdd) p.row_scale += kRows;
  }
}

/// `columns` counts vectors. Rows are rounded up to a whole block: a and c must have that many rows (any contents).
template <class V, bool kDepthContiguous, Into kInto> void product(ProductArgs p, int rows, int columns, int depth) {
  while (columns > 0) {
    // Avoid a narrow remainder: 5 = 3 + 2.
    const int most = kBlockColumns<V>;
    const int width = columns <= most ? columns : columns < 2 * most ? (columns + 1) / 2 : most;
    if constexpr (kBlockColumns<V> >= 4) {
      if (width == 4) product_strip<V, 4, kDepthContiguous, kInto>(p, rows, depth);
    }
    if (width == 3) product_strip<V, 3, kDepthContiguous, kInto>(p, rows, depth);
    if (width == 2) product_strip<V, 2, kDepthContiguous, kInto>(p, rows, depth);
    if (width == 1) product_strip<V, 1, kDepthContiguous, kInto>(p, rows, depth);
    p.b += width * V::kWidth;
    p.c += width * V::kWidth;
    columns -= width;
  }
}

/// The same product without the terms whose factor in a is 0, since b may have infinity or NaN there. The others are summed in
/// the same order as above, so that results are bitwise equal where b is finite. Slow; touches exactly `rows` rows of c.
template <class V, bool kDepthContiguous, Into kInto>
void product_of_nonzero(const ProductArgs& p, int rows, int columns, int depth) {
  const std::ptrdiff_t a_row = kDepthContiguous ? p.a_row : 1;
  const std::ptrdiff_t a_depth = kDepthContiguous ? 1 : p.a_depth;
  for (int r = 0; r < rows; ++r) {
    for (int j = 0; j < columns * V::kWidth; j += V::kWidth) {
      auto sum = V::zero();
      for (int d = 0; d < depth; ++d) {
        const float x = p.a[r * a_row + d * a_depth];
        if (x != 0) sum = V::fma(V::broadcast(x), V::load(p.b + d * p.b_depth + j), sum);
      }
      store_sum<V, kInto>(p.c + r * p.c_row + j, sum, p.row_scale + r);
    }
  }
}

/// Whether all of `count` numbers, a multiple of the vector width, are finite. 0 times any other number is NaN.
template <class V> bool all_finite(const float* x, std::ptrdiff_t count) {
  constexpr int kSums = 4;  // enough to hide the latency of an addition
  typename V::Float sums[kSums] = {V::zero(), V::zero(), V::zero(), V::zero()};
  std::ptrdiff_t i = 0;
  for (; i + kSums * V::kWidth <= count; i += kSums * V::kWidth) {
#pragma GCC unroll 4
    for (int j = 0; j < kSums; ++j) sums[j] = V::fma(V::load(x + i + j * V::kWidth), V::zero(), sums[j]);
  }
  for (; i < count; i += V::kWidth) sums[0] = V::fma(V::load(x + i), V::zero(), sums[0]);
  return V::reduce_add(V::add(V::add(sums[0], sums[1]), V::add(sums[2], sums[3]))) == 0;
}

/// Number of terms of a score that are summed first; the rest is summed separately and added. This halves the rounding error of
/// one chain; row_dots must do the same.
constexpr int first_terms(int head_dim) { return (head_dim + 1) / 2; }

}  // namespace
}  // namespace rondo::cpu

// SPDX-License-Identifier: Apache-2.0
// Common to the operations of the compressive memory: tokens of one head in tiles, and packed matrices.
#pragma once

#include <algorithm>
#include <array>
#include <utility>

#include "core/arena.hpp"
#include "kernels/compressive_memory.hpp"
#include "kernels/cpu/context.hpp"

namespace rondo::cpu {

inline constexpr int kMaxMemoryTile = 64;

/// Addresses of the rows of a tile's tokens, `T` elements of one type.
template <typename T> using TileRows = std::array<T*, kMaxMemoryTile>;

/// Sizes of packed arrays for one head dimension.
class MemoryPacking {
 public:
  MemoryPacking(const MemoryKernels& kernels, std::int64_t head_dim)
      : kernels_(kernels),
        dims_{.head_dim = static_cast<int>(head_dim),
              .padded_dim = static_cast<int>((head_dim + kernels.dim_multiple - 1) / kernels.dim_multiple *
                                             kernels.dim_multiple)} {
    ensure(kernels.tile <= kMaxMemoryTile, "a tile of the memory fits its rows");
  }

  const AttentionDims& dims() const { return dims_; }
  std::int64_t matrix_floats() const { return std::int64_t{dims_.head_dim + kernels_.slack} * dims_.padded_dim; }
  std::int64_t tile_floats() const { return std::int64_t{kernels_.tile + kernels_.slack} * dims_.padded_dim; }

  /// [D, D] fp64 to [D, P] fp32.
  void narrow(const double* matrix, float* packed) const {
    for (int i = 0; i < dims_.head_dim; ++i, packed += dims_.padded_dim) {
      std::copy_n(matrix + std::int64_t{i} * dims_.head_dim, dims_.head_dim, packed);
      std::fill(packed + dims_.head_dim, packed + dims_.padded_dim, 0.0F);
    }
  }
  void narrow_row(const double* row, float* packed) const {
    std::copy_n(row, dims_.head_dim, packed);
    std::fill(packed + dims_.head_dim, packed + dims_.padded_dim, 0.0F);
  }
  void transpose(const float* packed, float* transposed) const {
    const int D = dims_.head_dim, P = dims_.padded_dim;
    for (int i = 0; i < D; ++i) {
      for (int j = 0; j < D; ++j) transposed[std::int64_t{i} * P + j] = packed[std::int64_t{j} * P + i];
      std::fill(transposed + std::int64_t{i} * P + D, transposed + std::int64_t{i + 1} * P, 0.0F);
    }
  }
  /// matrix [D, D] fp64 += packed [D, P]
  void add(const float* packed, double* matrix) const {
    for (int i = 0; i < dims_.head_dim; ++i) {
      for (int j = 0; j < dims_.head_dim; ++j) {
        matrix[std::int64_t{i} * dims_.head_dim + j] +=
            static_cast<double>(packed[std::int64_t{i} * dims_.padded_dim + j]);
      }
    }
  }
  void add_row(const float* packed, double* row) const {
    for (int i = 0; i < dims_.head_dim; ++i) row[i] += static_cast<double>(packed[i]);
  }

 private:
  const MemoryKernels& kernels_;
  AttentionDims dims_;
};

/// Packed fp32 arrays per head, one after the other, in scratch.
class HeadScratch {
 public:
  HeadScratch(Arena& scratch, std::int64_t heads, std::int64_t floats_a_head)
      : floats_(floats_a_head), all_(scratch.take(DType::Fp32, {heads, floats_a_head}).as<float>()) {}

  /// A cursor over the arrays of a head: each call gives the next `floats`.
  class Cursor {
   public:
    explicit Cursor(float* next) : next_(next) {}
    float* take(std::int64_t floats) { return std::exchange(next_, next_ + floats); }

   private:
    float* next_;
  };
  Cursor of_head(std::int64_t g) const { return Cursor(all_ + g * floats_); }

 private:
  std::int64_t floats_;
  float* all_;
};

/// Calls body(first, count) for the tiles of `count` tokens from `first` on.
template <typename Body> void for_each_tile(std::int64_t first, std::int64_t count, int tile, Body&& body) {
  for (std::int64_t begin = 0; begin < count; begin += tile) {
    body(first + begin, static_cast<int>(std::min<std::int64_t>(tile, count - begin)));
  }
}

/// The rows of some tokens of one head of a tensor [tokens, heads, D].
template <typename T> TileRows<T> rows_of(const TensorView& tensor, std::int64_t head, std::int64_t first, int count) {
  TileRows<T> rows;
  for (int r = 0; r < count; ++r) {
    rows[static_cast<std::size_t>(r)] =
        reinterpret_cast<T*>(at(tensor, ((first + r) * tensor.shape[1] + head) * tensor.shape[2]));
  }
  return rows;
}

}  // namespace rondo::cpu

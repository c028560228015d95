// SPDX-License-Identifier: Apache-2.0
// Consecutive elements that one thread moves at a time, 16 bytes where the address allows it, and how the threads of a
// grid share out rows of such packs.
#pragma once

#include "kernels/cuda/elements.cuh"
#include "kernels/cuda/launch.cuh"

namespace rondo::cuda {

/// Elements of E in 16 bytes.
template <typename E> inline constexpr int kPackOf = 16 / static_cast<int>(sizeof(E));

template <typename E, int kCount> struct alignas(kCount * sizeof(E) % 16 == 0 ? 16 : kCount * sizeof(E)) Pack {
  E values[kCount];
};

template <int kBytes> struct WordOf { using type = uint4; };
template <> struct WordOf<8> { using type = uint2; };
template <> struct WordOf<4> { using type = unsigned; };

template <typename E, int kCount>
using Word = typename WordOf<kCount * sizeof(E) % 16 == 0 ? 16 : static_cast<int>(kCount * sizeof(E))>::type;

/// The elements from `from` on, of which there are `count`; zeros behind the last.
/// @param wide the address is a multiple of the pack's alignment
template <int kCount, typename E> __device__ Pack<E, kCount> load_pack(const E* from, std::int64_t count, bool wide) {
  Pack<E, kCount> pack;
  if (wide && count >= kCount) {
    constexpr int kWords = sizeof(pack) / sizeof(Word<E, kCount>);
#pragma unroll
    for (int i = 0; i < kWords; ++i) {
      reinterpret_cast<Word<E, kCount>*>(&pack)[i] = reinterpret_cast<const Word<E, kCount>*>(from)[i];
    }
  } else {
#pragma unroll
    for (int i = 0; i < kCount; ++i) pack.values[i] = i < count ? from[i] : store<E>(0.0F);
  }
  return pack;
}

/// Writes the first `count` elements. @param wide as for load_pack
template <int kCount, typename E>
__device__ void store_pack(E* to, const Pack<E, kCount>& pack, std::int64_t count, bool wide) {
  if (wide && count >= kCount) {
    constexpr int kWords = sizeof(pack) / sizeof(Word<E, kCount>);
#pragma unroll
    for (int i = 0; i < kWords; ++i) {
      reinterpret_cast<Word<E, kCount>*>(to)[i] = reinterpret_cast<const Word<E, kCount>*>(&pack)[i];
    }
  } else {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (i < count) to[i] = pack.values[i];
    }
  }
}

/// Do these arrays start where packs can be moved whole? A missing one (null) does.
template <typename... E> bool are_aligned(const E*... arrays) {
  return ((reinterpret_cast<std::uintptr_t>(arrays) % 16 == 0) && ...);
}

/// Can rows of so many elements be moved in packs of E, in all of these arrays?
template <typename E, typename... Arrays> bool moves_whole_packs(std::int64_t columns, const Arrays*... arrays) {
  return columns % kPackOf<E> == 0 && are_aligned(arrays...);
}

/// Which row and pack each thread of a grid has: narrow rows share a block, wide rows have several.
struct RowGrid {
  static constexpr int kThreads = 256;

  std::int64_t rows, packs;  // packs of one row
  int lanes;                 // threads of a block that one row has: a power of two
  unsigned tiles;            // blocks that one row has

  static RowGrid of(std::int64_t rows, std::int64_t columns, int pack) {
    RowGrid grid{.rows = rows, .packs = (columns + pack - 1) / pack, .lanes = 1, .tiles = 1};
    while (grid.lanes < kThreads && grid.lanes < grid.packs) grid.lanes *= 2;
    grid.tiles = static_cast<unsigned>((grid.packs + grid.lanes - 1) / grid.lanes);
    return grid;
  }
  LaunchShape launch_shape() const {
    const int rows_of_block = kThreads / lanes;
    return {.blocks = (rows + rows_of_block - 1) / rows_of_block * tiles, .threads = kThreads};
  }

  __device__ std::int64_t row() const {
    return std::int64_t{blockIdx.x / tiles} * (kThreads / lanes) + static_cast<int>(threadIdx.x) / lanes;
  }
  __device__ std::int64_t pack() const {
    return std::int64_t{blockIdx.x % tiles} * lanes + static_cast<int>(threadIdx.x) % lanes;
  }
};

}  // namespace rondo::cuda

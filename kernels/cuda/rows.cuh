// SPDX-License-Identifier: Apache-2.0
// Work on one row by a group of threads: a warp if the row is narrow, a block else. What fits in registers is read once.
#pragma once

#include "kernels/cuda/packs.cuh"

namespace rondo::cuda {

inline constexpr int kRowBlock = 256;     // threads of a block, whether it has one row or eight
inline constexpr int kRegisterPacks = 4;  // packs of a row that each thread keeps in registers

/// Threads of the group that has a row of so many elements.
template <typename E> int threads_of_row(std::int64_t columns) {
  return columns <= 32 * kRegisterPacks * kPackOf<E> ? 32 : kRowBlock;
}

/// @pre the groups have kRowThreads threads
template <int kRowThreads> LaunchShape launch_shape_of_rows(std::int64_t groups) {
  constexpr int kGroups = kRowBlock / kRowThreads;
  return {.blocks = (groups + kGroups - 1) / kGroups, .threads = kRowBlock};
}

/// Combines one value of each thread of the group; all get the result. @pre all threads of the group call
template <int kRowThreads, typename Sum, typename Combine>
__device__ Sum row_reduce(Sum value, Sum* shared, Combine combine) {
  if constexpr (kRowThreads == 32) {
    return warp_reduce(value, combine);
  } else {
    return block_reduce(value, shared, combine);
  }
}

/// The group's index in the grid.
template <int kRowThreads> __device__ std::int64_t row_group() {
  return std::int64_t{blockIdx.x} * (kRowBlock / kRowThreads) + static_cast<int>(threadIdx.x) / kRowThreads;
}

/// body(first element, j) for every pack of this thread. Packs j < kRegisterPacks are unrolled, so that arrays indexed by
/// j stay in registers; all others have j = kRegisterPacks.
template <int kRowThreads, int kPack, typename Body>
__device__ void for_packs_of_row(std::int64_t columns, Body&& body) {
  const std::int64_t lane = static_cast<int>(threadIdx.x) % kRowThreads;
#pragma unroll
  for (int j = 0; j < kRegisterPacks; ++j) {
    const std::int64_t first = (j * kRowThreads + lane) * kPack;
    if (first < columns) body(first, j);
  }
  for (std::int64_t first = (kRegisterPacks * kRowThreads + lane) * kPack; first < columns;
       first += kRowThreads * kPack) {
    body(first, kRegisterPacks);
  }
}

}  // namespace rondo::cuda

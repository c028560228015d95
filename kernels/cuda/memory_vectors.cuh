// SPDX-License-Identifier: Apache-2.0
// Sums of weighted features over tokens, a vector [D] a block of threads: each warp takes every so manieth token, then the warps
// are added in order.
#pragma once

#include "kernels/cuda/memory_tensors.cuh"

namespace rondo::cuda {

/// Calls body(std::integral_constant<int, columns>) with how many dimensions a lane has.
template <typename Body> void with_lane_columns(std::int64_t dim, Body&& body) {
  ensure(dim <= 512, "a head of the memory has at most 512 dimensions on a GPU");
  if (dim <= 128) return body(std::integral_constant<int, 4>{});
  body(std::integral_constant<int, 16>{});
}

/// Dimensions lane, lane + 32, ... of a vector.
template <int kColumns, typename Sum> struct LaneVector {
  Sum x[kColumns] = {};

  /// body(j, d) for the dimensions of this lane.
  template <typename Body> static __device__ void for_each(int dim, Body&& body) {
#pragma unroll
    for (int j = 0; j < kColumns; ++j) {
      if (lane() + 32 * j < dim) body(j, lane() + 32 * j);
    }
  }
  template <typename E> static __device__ LaneVector features(const E* row, int dim) {
    LaneVector phi;
    for_each(dim, [&](int j, int d) { phi.x[j] = feature(load(row[d])); });
    return phi;
  }
  template <typename From> static __device__ LaneVector of(const From* vector, int dim) {
    LaneVector values;
    for_each(dim, [&](int j, int d) { values.x[j] = static_cast<Sum>(vector[d]); });
    return values;
  }
  __device__ void add(Sum weight, const LaneVector& other) {
#pragma unroll
    for (int j = 0; j < kColumns; ++j) x[j] += weight * other.x[j];
  }
  /// All lanes get it.
  __device__ Sum dot(const LaneVector& other) const {
    Sum sum = 0;
#pragma unroll
    for (int j = 0; j < kColumns; ++j) sum += x[j] * other.x[j];
    return warp_reduce(sum, Add{});
  }
};

/// Room to add up a vector of each warp.
template <int kColumns, int kWarps, typename Sum> struct WarpVectors { Sum x[kWarps][32 * kColumns]; };

/// body(d, sum) by one thread a dimension, with the sum of the warps' vectors in order. @pre all threads of the block call; what
/// `shared` held has been read
template <int kColumns, int kWarps, typename Sum, typename Body>
__device__ void fold_warps(WarpVectors<kColumns, kWarps, Sum>& shared, const LaneVector<kColumns, Sum>& mine, int dim,
                           Body&& body) {
  LaneVector<kColumns, Sum>::for_each(dim, [&](int j, int d) { shared.x[threadIdx.x / 32][d] = mine.x[j]; });
  __syncthreads();
  for (int d = static_cast<int>(threadIdx.x); d < dim; d += 32 * kWarps) {
    Sum sum = 0;
#pragma unroll
    for (int warp = 0; warp < kWarps; ++warp) sum += shared.x[warp][d];
    body(d, sum);
  }
  __syncthreads();
}

}  // namespace rondo::cuda

// SPDX-License-Identifier: Apache-2.0
// How an all-reduce is divided: into slabs, and each slab into one part per rank, which that rank sums in rank order.
#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>

#include "core/arena.hpp"

namespace rondo {

/// Bytes that are summed at a time, which bounds the scratch: 16 MiB for any model on up to 256 ranks.
inline std::size_t slab_bytes(int num_ranks) {
  return std::max(std::size_t{16} << 20, static_cast<std::size_t>(num_ranks) * (std::size_t{64} << 10));
}

/// Calls body(slab) with the slabs of `data`, one-dimensional, in order.
inline void for_each_slab(const TensorView& data, std::size_t bytes,
                          const std::function<void(const TensorView&)>& body) {
  const TensorView flat = data.reshaped({data.count()});
  const auto length = static_cast<std::int64_t>(bytes / size_of(data.dtype));
  for (std::int64_t first = 0; first < flat.shape[0]; first += length) {
    body(flat.rows(first, std::min(length, flat.shape[0] - first)));
  }
}

/// The part of a slab that rank `part` sums; may be empty.
inline TensorView part_of(const TensorView& slab, int part, int num_ranks) {
  const std::int64_t length = (slab.shape[0] + num_ranks - 1) / num_ranks;
  const std::int64_t first = std::min(slab.shape[0], part * length);
  return slab.rows(first, std::min(length, slab.shape[0] - first));
}

/// Memory for the contributions of all ranks to a part, one row per rank. @pre inside a scope of the scratch
inline TensorView take_arrivals(const TensorView& slab, int rank, int num_ranks, Arena& scratch) {
  const std::int64_t length = part_of(slab, rank, num_ranks).shape[0];
  return scratch.take(slab.dtype, {num_ranks, std::max<std::int64_t>(1, length)});
}

}  // namespace rondo

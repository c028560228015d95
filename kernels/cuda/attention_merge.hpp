// SPDX-License-Identifier: Apache-2.0
// Memory-bound passes around a library's attention: its partial results are merged into the carry or added to gradients,
// and rows of a log-sum-exp are packed for it. All are asynchronous on their stream.
#pragma once

#include "kernels/attention.hpp"

namespace rondo::cuda {

/// The rows [first_row, first_row + t) of carry <- carry (+) partial, with partial.out [t, N, D], partial.lse [N, t].
/// @pre fp32; D is a multiple of 4
void merge_partial(Stream& stream, const SoftmaxCarry& partial, const SoftmaxCarry& carry, std::int64_t first_row);

/// Which heads of a tensor: first, first + step, ...
struct HeadStride {
  std::int64_t first = 0;
  std::int64_t step = 1;
};

/// to[first_row + t, first + h step, :] += from[t, h, :]. @pre fp32; the last dimension is a multiple of 4
void add_heads(Stream& stream, const TensorView& from, const TensorView& to, std::int64_t first_row,
               const HeadStride& heads);

/// to[h, t] = from[first + h step, first_row + t], both fp32 and of two dimensions.
void pack_rows(Stream& stream, const TensorView& from, const TensorView& to, std::int64_t first_row,
               const HeadStride& heads);

}  // namespace rondo::cuda

// SPDX-License-Identifier: Apache-2.0
// What the kernels of the compressive memory share: steps and tensors as plain data of the device, the feature map, and how much
// of what is stored a write takes back.
#pragma once

#include <limits>

#include "kernels/cuda/memory_steps.hpp"
#include "kernels/cuda/packs.cuh"

namespace rondo::cuda {

/// A MemoryStep on the device.
struct DeviceStep {
  std::int64_t first_query, first_key;  // first_key < 0: nothing is written
  int num_queries;
  bool is_reset;

  __device__ bool writes() const { return first_key >= 0; }
};

/// All steps of a run. They travel as parameters of kernels, so the host neither waits nor has to keep them.
/// @pre inside a Scope, which keeps the memory
const DeviceStep* device_steps(Stream& stream, const MemorySchedule& schedule, Arena& scratch);

/// Consecutive steps of a run; arrays over steps begin with the first of them.
template <typename E, typename Sum> struct MemoryTensors {
  const E* q;  // [T, N, D] or null
  const E* k;  // [U, G, D]
  const E* v;  // [U, G, D]
  const DeviceStep* steps;
  const double* z;        // [steps, G, D]
  const double* segment;  // [steps, G, D]
  std::int64_t num_steps;
  int segment_tokens, max_queries, heads, kv_heads, dim;
  MemoryRule rule;
  bool wide;  // rows of all tensors can be moved in packs

  __device__ int heads_of_group() const { return heads / kv_heads; }
  /// First element of the row of a key or value.
  __device__ std::int64_t key_row(std::int64_t key, int group) const { return (key * kv_heads + group) * dim; }
  __device__ std::int64_t query_row(std::int64_t query, int head) const { return (query * heads + head) * dim; }
  /// First element of z or u of a step.
  __device__ std::int64_t vector_row(std::int64_t step, int group) const { return (step * kv_heads + group) * dim; }
  /// First element of M of a step.
  __device__ std::int64_t matrix(std::int64_t step, int group) const { return vector_row(step, group) * dim; }
  /// Of a written token of these steps in [steps, L, G].
  __device__ std::int64_t written(std::int64_t step, int token, int group) const {
    return (step * segment_tokens + token) * kv_heads + group;
  }

  /// The tensors of some of the steps.
  MemoryTensors of_steps(std::int64_t first, std::int64_t end) const {
    MemoryTensors some = *this;
    some.steps += first;
    some.z += first * kv_heads * dim;
    some.segment += first * kv_heads * dim;
    some.num_steps = end - first;
    return some;
  }
  std::int64_t num_written() const { return num_steps * segment_tokens; }
  std::int64_t matrix_elements() const { return std::int64_t{kv_heads} * dim * dim; }
};

/// Of the arguments of forward or backward. @param wide as in MemoryTensors. @pre as of device_steps
template <typename T, typename Args>
MemoryTensors<Element<T>, Accumulator<T>> memory_tensors(Stream& stream, const Args& args, bool wide) {
  const auto kv_heads = static_cast<int>(args.k.shape[1]);
  return {.q = args.q ? elements<T>(args.q) : nullptr,
          .k = elements<T>(args.k),
          .v = elements<T>(args.v),
          .steps = device_steps(stream, args.schedule, args.scratch),
          .z = args.normalisers.z.template as<double>(),
          .segment = args.normalisers.segment.template as<double>(),
          .num_steps = args.schedule.num_steps(),
          .segment_tokens = static_cast<int>(written_tokens(args.schedule)),
          .max_queries = static_cast<int>(most_queries(args.schedule)),
          .heads = args.q ? static_cast<int>(args.q.shape[1]) : kv_heads,
          .kv_heads = kv_heads,
          .dim = static_cast<int>(args.k.shape[2]),
          .rule = args.rule,
          .wide = wide};
}

/// x + 1 above 0, exp(x) below: the form elu(x) + 1 cancels.
template <typename Sum> __device__ Sum feature(Sum x) { return x > 0 ? x + 1 : exp(x); }
/// Its slope, given feature(x) too.
template <typename Sum> __device__ Sum feature_slope(Sum x, Sum phi) { return x > 0 ? Sum{1} : phi; }

template <typename Sum> inline constexpr Sum kSmallestNormal = std::numeric_limits<Sum>::min();

/// 1 / x, or 0 where that would be infinite.
template <typename Sum> __device__ Sum reciprocal_or_zero(Sum x) { return x >= kSmallestNormal<Sum> ? 1 / x : Sum{0}; }

/// w of MemoryRule for a token with c = phi z and e = phi u, the latter 0 where the rule has none.
template <typename Sum> struct RetrievalWeight {
  Sum value, overlap;
  bool is_overlap;  // w = 1 / c, not 1 / e

  __device__ RetrievalWeight(Sum c, Sum e)
      : value(reciprocal_or_zero(c >= e ? c : e)), overlap(c), is_overlap(c >= e) {}
  /// gamma of the corrected rule: exactly 0 for a key that is known.
  __device__ Sum new_part() const { return is_overlap && value > 0 ? Sum{0} : 1 - overlap * value; }
};

/// Four elements of a row of `dim` from d on, in the accumulator type: zeros behind its end, and where there is no row (null).
template <typename Sum, typename E> __device__ Pack<Sum, 4> load_row(const E* row, int d, int dim, bool wide) {
  Pack<Sum, 4> values{};
  if (row == nullptr || d >= dim) return values;
  const Pack<E, 4> loaded = load_pack<4>(row + d, dim - d, wide);
#pragma unroll
  for (int i = 0; i < 4; ++i) values.values[i] = load(loaded.values[i]);
  return values;
}
/// The same of a row's features.
template <typename Sum, typename E> __device__ Pack<Sum, 4> load_features(const E* row, int d, int dim, bool wide) {
  Pack<Sum, 4> phi = load_row<Sum>(row, d, dim, wide);
#pragma unroll
  for (int i = 0; i < 4; ++i) phi.values[i] = row != nullptr && d + i < dim ? feature(phi.values[i]) : Sum{0};
  return phi;
}
template <typename Sum> __device__ Pack<Sum, 4> scaled(Sum factor, Pack<Sum, 4> pack) {
#pragma unroll
  for (int i = 0; i < 4; ++i) pack.values[i] *= factor;
  return pack;
}

/// Row kernels: a warp has a row.
inline constexpr int kRowWarps = 8;
inline LaunchShape shape_of_warps(std::int64_t rows) {
  return {.blocks = (rows + kRowWarps - 1) / kRowWarps, .threads = 32 * kRowWarps};
}
__device__ inline std::int64_t row_of_warp() {
  return std::int64_t{blockIdx.x} * kRowWarps + static_cast<int>(threadIdx.x) / 32;
}
__device__ inline int lane() { return static_cast<int>(threadIdx.x) % 32; }

/// term(d) summed over the dimensions by one warp; all lanes get it. @pre the whole warp calls
template <typename Sum, typename Term> __device__ Sum sum_over_dims(int dim, Term&& term) {
  Sum sum = 0;
  for (int d = lane(); d < dim; d += 32) sum += term(d);
  return warp_reduce(sum, Add{});
}

}  // namespace rondo::cuda

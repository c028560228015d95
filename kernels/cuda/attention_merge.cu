// SPDX-License-Identifier: Apache-2.0
#include <limits>

#include "kernels/cuda/attention_merge.hpp"
#include "kernels/cuda/launch.cuh"

namespace rondo::cuda {

namespace {

constexpr int kWidth = 4;  // elements of a float4, one 16-byte access
constexpr float kNothingSeen = -std::numeric_limits<float>::infinity();

struct MergeSizes {
  std::int64_t rows;            // queries of the partial result x heads
  std::int64_t heads, vectors;  // of a row: D / 4
  std::int64_t partial_queries, carry_queries, first_row;
  int lanes;  // threads of a row, a power of two
};

__device__ inline float weighted(float old_part, float old_value, float new_part, float new_value, float both) {
  return (old_part * old_value + new_part * new_value) / both;
}

// A few neighbouring threads share a row, so its two log-sum-exps are read once and the new one is written after all of them
// have the old one.
__global__ void merge_kernel(const float4* block_out, const float* block_lse, float4* out, float* lse,
                             const MergeSizes sizes) {
  const int lane = static_cast<int>(threadIdx.x) % sizes.lanes;
  const std::int64_t row = (std::int64_t{blockIdx.x} * kBlockThreads + threadIdx.x) / sizes.lanes;
  const std::int64_t query = row / sizes.heads, head = row % sizes.heads;
  const bool inside = row < sizes.rows;
  const std::int64_t carry_row = sizes.first_row * sizes.heads + row;
  float* carry_lse = lse + head * sizes.carry_queries + sizes.first_row + query;
  const float old_lse = inside ? *carry_lse : kNothingSeen;
  const float new_lse = inside ? block_lse[head * sizes.partial_queries + query] : kNothingSeen;
  __syncthreads();                                 // all threads of the row have read the old log-sum-exp
  if (!inside || new_lse == kNothingSeen) return;  // nothing was seen: the carry stays, never NaN; a NaN is passed on

  // (out, lse) <- the mean of both, weighted with e^lse; exp(-inf) = 0 where the carry is still empty
  const float top = old_lse < new_lse ? new_lse : old_lse;
  const float old_part = expf(old_lse - top), new_part = expf(new_lse - top), both = old_part + new_part;
  for (std::int64_t v = lane; v < sizes.vectors; v += sizes.lanes) {
    float4& to = out[carry_row * sizes.vectors + v];
    const float4 a = to, b = block_out[row * sizes.vectors + v];
    to = make_float4(weighted(old_part, a.x, new_part, b.x, both), weighted(old_part, a.y, new_part, b.y, both),
                     weighted(old_part, a.z, new_part, b.z, both), weighted(old_part, a.w, new_part, b.w, both));
  }
  if (lane == 0) *carry_lse = top + logf(both);
}

struct AddSizes {
  std::int64_t vectors;      // of all that is added
  std::int64_t row_vectors;  // of one head of one token
  std::int64_t heads, to_heads;
  std::int64_t first_row, first_head, head_step;
};

__global__ void add_heads_kernel(const float4* from, float4* to, const AddSizes sizes) {
  const std::int64_t v = std::int64_t{blockIdx.x} * kBlockThreads + threadIdx.x;
  if (v >= sizes.vectors) return;
  const std::int64_t row = v / sizes.row_vectors, column = v % sizes.row_vectors;
  const std::int64_t token = sizes.first_row + row / sizes.heads;
  const std::int64_t head = sizes.first_head + row % sizes.heads * sizes.head_step;
  float4& sum = to[(token * sizes.to_heads + head) * sizes.row_vectors + column];
  const float4 a = sum, b = from[v];
  sum = make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
}

__global__ void pack_rows_kernel(const float* from, float* to, std::int64_t heads, std::int64_t tokens,
                                 std::int64_t from_tokens, std::int64_t first_row, std::int64_t first_head,
                                 std::int64_t head_step) {
  const std::int64_t i = std::int64_t{blockIdx.x} * kBlockThreads + threadIdx.x;
  if (i >= heads * tokens) return;
  to[i] = from[(first_head + i / tokens * head_step) * from_tokens + first_row + i % tokens];
}

std::int64_t blocks_for(std::int64_t threads) { return (threads + kBlockThreads - 1) / kBlockThreads; }

const float4* vectors(const TensorView& view) { return reinterpret_cast<const float4*>(view.as<float>()); }
float4* vectors_of(const TensorView& view) { return reinterpret_cast<float4*>(view.as<float>()); }

}  // namespace

void merge_partial(Stream& stream, const SoftmaxCarry& partial, const SoftmaxCarry& carry, std::int64_t first_row) {
  const std::int64_t queries = partial.out.shape[0], heads = partial.out.shape[1], dim = partial.out.shape[2];
  ensure(dim % kWidth == 0, "a head is a multiple of four elements");
  expect_shape(partial.lse, {heads, queries}, "partial.lse [N, t]");
  expect_shape(carry.out, {carry.out.shape[0], heads, dim}, "carry.out [T, N, D]");
  ensure(first_row >= 0 && first_row + queries <= carry.out.shape[0], "the carry has the rows of the partial result");
  MergeSizes sizes{.rows = queries * heads,
                   .heads = heads,
                   .vectors = dim / kWidth,
                   .partial_queries = queries,
                   .carry_queries = carry.out.shape[0],
                   .first_row = first_row,
                   .lanes = 1};
  while (sizes.lanes < 32 && sizes.lanes < sizes.vectors) sizes.lanes *= 2;
  launch(merge_kernel, stream, {.blocks = blocks_for(sizes.rows * sizes.lanes), .threads = kBlockThreads},
         vectors(partial.out), partial.lse.as<float>(), vectors_of(carry.out), carry.lse.as<float>(), sizes);
}

void add_heads(Stream& stream, const TensorView& from, const TensorView& to, std::int64_t first_row,
               const HeadStride& heads) {
  const std::int64_t dim = from.shape[2];
  ensure(dim == to.shape[2] && dim % kWidth == 0, "a head is a multiple of four elements");
  ensure(first_row + from.shape[0] <= to.shape[0], "there is a row for each row");
  ensure(heads.first + (from.shape[1] - 1) * heads.step < to.shape[1], "there is a head for each head");
  const AddSizes sizes{.vectors = from.count() / kWidth,
                       .row_vectors = dim / kWidth,
                       .heads = from.shape[1],
                       .to_heads = to.shape[1],
                       .first_row = first_row,
                       .first_head = heads.first,
                       .head_step = heads.step};
  launch(add_heads_kernel, stream, {.blocks = blocks_for(sizes.vectors), .threads = kBlockThreads}, vectors(from),
         vectors_of(to), sizes);
}

void pack_rows(Stream& stream, const TensorView& from, const TensorView& to, std::int64_t first_row,
               const HeadStride& heads) {
  const std::int64_t packed_heads = to.shape[0], tokens = to.shape[1];
  ensure(first_row + tokens <= from.shape[1], "there is a row for each row");
  ensure(heads.first + (packed_heads - 1) * heads.step < from.shape[0], "there is a head for each head");
  launch(pack_rows_kernel, stream, {.blocks = blocks_for(to.count()), .threads = kBlockThreads}, from.as<float>(),
         to.as<float>(), packed_heads, tokens, from.shape[1], first_row, heads.first, heads.step);
}

}  // namespace rondo::cuda

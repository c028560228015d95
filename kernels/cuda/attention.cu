// SPDX-License-Identifier: Apache-2.0
// Plain block attention forward, for what the fused kernels do not take: one block of threads per query and head walks the keys
// that the query sees in tiles, with a running softmax, and merges with the carry at the end. And delta, for both.
#include <limits>

#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/fused_attention.hpp"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/operations.hpp"
#include "kernels/dispatch.hpp"

namespace rondo::cuda {

namespace {

constexpr int kWarps = kTileThreads / 32;
template <typename Sum> constexpr Sum kEmpty = -std::numeric_limits<Sum>::infinity();

template <typename E, typename Sum>
__global__ void forward_kernel(const ForwardTensors<E, Sum> tensors, const BlockGeometry block) {
  __shared__ Sum reduction[kWarps];
  const AttentionSizes& sizes = block.sizes;
  const std::int64_t dim = sizes.head_dim, row = blockIdx.x, query = row / sizes.heads, head = row % sizes.heads;
  const std::int64_t group = head / (sizes.heads / sizes.kv_heads);
  Sum* q = dynamic_shared<Sum>();  // [D]
  Sum* block_out = q + dim;        // [D]
  Sum* p = block_out + dim;        // [kTileThreads]
  for (std::int64_t d = threadIdx.x; d < dim; d += kTileThreads) {
    q[d] = load(tensors.q[row * dim + d]);
    block_out[d] = 0;
  }
  Sum largest = kEmpty<Sum>, total = 0;
  bool sees_keys = false;
  const KeyInterval seen = block.visible[query];
  for (int run = 0; run < block.key_runs.num_runs; ++run) {
    const TokenRun& keys = block.key_runs.runs[run];
    const KeyInterval inside = clip_to_run(seen, keys);
    for (std::int64_t first = inside.begin; first < inside.end; first += kTileThreads) {
      __syncthreads();  // q is there; p of the tile before has been read
      sees_keys = true;
      const auto local = [&](std::int64_t j) {
        return ((keys.local_first + first + j) * sizes.kv_heads + group) * dim;
      };
      const std::int64_t tile = inside.end - first < kTileThreads ? inside.end - first : kTileThreads;

      // s_j = scale q . k_j, one key a thread
      Sum score = kEmpty<Sum>;
      if (threadIdx.x < tile) {
        score = 0;
        const E* k = tensors.k + local(threadIdx.x);
        for (std::int64_t d = 0; d < dim; ++d) score += q[d] * load(k[d]);
        score *= tensors.scale;
      }
      // Running softmax: what came before is scaled down when a larger score appears; exp(-inf) = 0 on the
      // first tile.
      const Sum tile_largest = block_max(score, reduction);
      const Sum now_largest = largest < tile_largest ? tile_largest : largest;
      const Sum fade = exp(largest - now_largest);
      const Sum weight = threadIdx.x < tile ? exp(score - now_largest) : Sum{0};
      p[threadIdx.x] = load(store<E>(weight));
      total = total * fade + block_sum(weight, reduction);
      largest = now_largest;
      for (std::int64_t d = threadIdx.x; d < dim; d += kTileThreads) {
        Sum sum = block_out[d] * fade;
        for (std::int64_t j = 0; j < tile; ++j) sum += p[j] * load(tensors.v[local(j) + d]);
        block_out[d] = sum;
      }
    }
  }
  if (!sees_keys) return;  // the carry stays as it is: (0, -inf) if empty, never NaN

  // (out, lse) <- (out, lse) (+) (block_out / total, largest + log(total))
  Sum* lse = tensors.lse + head * sizes.num_queries + query;
  const Sum old_lse = *lse, block_lse = largest + log(total);
  const Sum top = old_lse < block_lse ? block_lse : old_lse;
  const Sum old_part = exp(old_lse - top), new_part = exp(block_lse - top), both = old_part + new_part;
  for (std::int64_t d = threadIdx.x; d < dim; d += kTileThreads) {
    Sum& out = tensors.out[row * dim + d];
    out = (old_part * out + new_part * (block_out[d] / total)) / both;
  }
  __syncthreads();  // all threads have read the old log-sum-exp
  if (threadIdx.x == 0) *lse = top + log(both);
}

/// delta[n, t] = sum over d of out d_out, a row a warp
template <typename E, typename Sum>
__global__ void delta_kernel(const Sum* out, const E* d_out, Sum* delta, std::int64_t tokens, std::int64_t heads,
                             std::int64_t dim) {
  const std::int64_t row = std::int64_t{blockIdx.x} * kWarps + threadIdx.x / 32;
  if (row >= tokens * heads) return;
  Sum sum = 0;
  for (std::int64_t d = threadIdx.x % 32; d < dim; d += 32) sum += out[row * dim + d] * load(d_out[row * dim + d]);
  sum = warp_reduce(sum, Add{});
  if (threadIdx.x % 32 == 0) delta[row % heads * tokens + row / heads] = sum;
}

}  // namespace

void block_attention_forward(Stream& stream, const BlockAttentionForwardArgs& args) {
  if (fused_attention_takes(args)) return fused_attention_forward(stream, args);
  Arena::Scope scope(args.scratch);
  const BlockGeometry block = geometry_of(stream, args);
  const AttentionSizes& sizes = block.sizes;
  with_storage_type(args.q.dtype, [&]<typename T>() {
    using E = Element<T>;
    using Sum = Accumulator<T>;
    const auto shared_bytes = static_cast<std::size_t>(2 * sizes.head_dim + kTileThreads) * sizeof(Sum);
    launch(forward_kernel<E, Sum>, stream,
           {.blocks = sizes.num_queries * sizes.heads, .threads = kTileThreads, .shared_bytes = shared_bytes},
           forward_tensors<T>(args), block);
  });
}

void attention_delta(Stream& stream, const AttentionDeltaArgs& args) {
  rondo::check(args);
  const std::int64_t tokens = args.out.shape[0], heads = args.out.shape[1], dim = args.out.shape[2];
  with_storage_type(args.d_out.dtype, [&]<typename T>() {
    using E = Element<T>;
    using Sum = Accumulator<T>;
    launch(delta_kernel<E, Sum>, stream, {.blocks = (tokens * heads + kWarps - 1) / kWarps, .threads = kTileThreads},
           args.out.as<Sum>(), elements<T>(args.d_out), args.delta.as<Sum>(), tokens, heads, dim);
  });
}

}  // namespace rondo::cuda

// SPDX-License-Identifier: Apache-2.0
// Plain block attention backward without atomics: one kernel walks the keys of each query for d_q, the other
// walks the queries of each key for d_k and d_v. Both compute the probabilities again from the final
// log-sum-exp.
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/fused_attention.hpp"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/operations.hpp"
#include "kernels/dispatch.hpp"

namespace rondo::cuda {

namespace {

template <typename Sum> struct Gradients { Sum p, ds; };

/// p = exp(scale q . k - lse),  ds = p (d_out . v - delta), rounded once to the storage type E.
template <typename E, typename Sum, typename Q, typename K>
__device__ Gradients<Sum> gradients_of(const Q* q, const Q* d_out, const K* k, const K* v, std::int64_t dim, Sum scale,
                                       Sum lse, Sum delta) {
  Sum score = 0, d_p = 0;
  for (std::int64_t d = 0; d < dim; ++d) {
    score += load(q[d]) * load(k[d]);
    d_p += load(d_out[d]) * load(v[d]);
  }
  const Sum p = exp(scale * score - lse);
  return {.p = load(store<E>(p)), .ds = load(store<E>(p * (d_p - delta)))};
}

/// One block of threads per query and head: d_q += sum over keys of scale ds k.
template <typename E, typename Sum>
__global__ void d_q_kernel(const BackwardTensors<E, Sum> tensors, const BlockGeometry block) {
  const AttentionSizes& sizes = block.sizes;
  const std::int64_t dim = sizes.head_dim, row = blockIdx.x, query = row / sizes.heads, head = row % sizes.heads;
  const std::int64_t group = head / (sizes.heads / sizes.kv_heads);
  Sum* q = dynamic_shared<Sum>();  // [D]
  Sum* d_out = q + dim;            // [D]
  Sum* ds = d_out + dim;           // [kTileThreads]
  for (std::int64_t d = threadIdx.x; d < dim; d += kTileThreads) {
    q[d] = load(tensors.q[row * dim + d]);
    d_out[d] = load(tensors.d_out[row * dim + d]);
  }
  const Sum lse = tensors.lse[head * sizes.num_queries + query];
  const Sum delta = tensors.delta[head * sizes.num_queries + query];
  const KeyInterval seen = block.visible[query];
  for (int run = 0; run < block.key_runs.num_runs; ++run) {
    const TokenRun& keys = block.key_runs.runs[run];
    const KeyInterval inside = clip_to_run(seen, keys);
    for (std::int64_t first = inside.begin; first < inside.end; first += kTileThreads) {
      const auto local = [&](std::int64_t j) {
        return ((keys.local_first + first + j) * sizes.kv_heads + group) * dim;
      };
      const std::int64_t tile = inside.end - first < kTileThreads ? inside.end - first : kTileThreads;
      __syncthreads();  // q and d_out are there; ds of the tile before has been read
      if (threadIdx.x < tile) {
        const std::int64_t key = local(threadIdx.x);
        ds[threadIdx.x] =
            gradients_of<E>(q, d_out, tensors.k + key, tensors.v + key, dim, tensors.scale, lse, delta).ds;
      }
      __syncthreads();
      for (std::int64_t d = threadIdx.x; d < dim; d += kTileThreads) {
        Sum sum = 0;
        for (std::int64_t j = 0; j < tile; ++j) sum += ds[j] * load(tensors.k[local(j) + d]);
        tensors.d_q[row * dim + d] += tensors.scale * sum;
      }
    }
  }
}

/// One block of threads a key and key head: d_v += sum of p d_out and d_k += sum of scale ds q, over all
/// queries that see the key and all heads of its group.
template <typename E, typename Sum>
__global__ void d_kv_kernel(const BackwardTensors<E, Sum> tensors, const BlockGeometry block) {
  const AttentionSizes& sizes = block.sizes;
  const std::int64_t dim = sizes.head_dim, row = blockIdx.x, group = row % sizes.kv_heads;
  const std::int64_t heads_of_group = sizes.heads / sizes.kv_heads;
  const std::int64_t position = block.key_runs.global_of(row / sizes.kv_heads);
  Sum* k = dynamic_shared<Sum>();  // [D]
  Sum* v = k + dim;                // [D]
  Sum* p = v + dim;                // [kTileThreads]
  Sum* ds = p + kTileThreads;      // [kTileThreads]
  for (std::int64_t d = threadIdx.x; d < dim; d += kTileThreads) {
    k[d] = load(tensors.k[row * dim + d]);
    v[d] = load(tensors.v[row * dim + d]);
  }
  for (std::int64_t first = 0; first < sizes.num_queries; first += kTileThreads) {
    const std::int64_t query = first + threadIdx.x;
    bool sees = false;
    if (query < sizes.num_queries) {
      const KeyInterval seen = block.visible[query];
      sees = seen.begin <= position && position < seen.end;
    }
    if (__syncthreads_or(sees) == 0) continue;
    const std::int64_t tile = sizes.num_queries - first < kTileThreads ? sizes.num_queries - first : kTileThreads;
    for (std::int64_t head = group * heads_of_group; head < (group + 1) * heads_of_group; ++head) {
      const auto local = [&](std::int64_t t) { return ((first + t) * sizes.heads + head) * dim; };
      __syncthreads();  // p and ds of the head before have been read
      Gradients<Sum> gradients{.p = 0, .ds = 0};
      if (sees) {
        const std::int64_t at = local(threadIdx.x), statistic = head * sizes.num_queries + query;
        gradients = gradients_of<E>(tensors.q + at, tensors.d_out + at, k, v, dim, tensors.scale,
                                    tensors.lse[statistic], tensors.delta[statistic]);
      }
      p[threadIdx.x] = gradients.p;
      ds[threadIdx.x] = gradients.ds;
      __syncthreads();
      for (std::int64_t d = threadIdx.x; d < dim; d += kTileThreads) {
        Sum d_k = 0, d_v = 0;
        // What is 0 adds nothing: a query that does not see the key may hold infinity.
        for (std::int64_t t = 0; t < tile; ++t) {
          if (ds[t] != 0) d_k += ds[t] * load(tensors.q[local(t) + d]);
          if (p[t] != 0) d_v += p[t] * load(tensors.d_out[local(t) + d]);
        }
        tensors.d_k[row * dim + d] += tensors.scale * d_k;
        tensors.d_v[row * dim + d] += d_v;
      }
    }
  }
}

}  // namespace

void block_attention_backward(Stream& stream, const BlockAttentionBackwardArgs& args) {
  if (fused_attention_takes(args)) return fused_attention_backward(stream, args);
  Arena::Scope scope(args.scratch);
  const BlockGeometry block = geometry_of(stream, args);
  const AttentionSizes& sizes = block.sizes;
  with_storage_type(args.q.dtype, [&]<typename T>() {
    using E = Element<T>;
    using Sum = Accumulator<T>;
    const BackwardTensors<E, Sum> tensors = backward_tensors<T>(args);
    const auto shared_bytes = static_cast<std::size_t>(2 * sizes.head_dim + 2 * kTileThreads) * sizeof(Sum);
    launch(d_q_kernel<E, Sum>, stream,
           {.blocks = sizes.num_queries * sizes.heads, .threads = kTileThreads, .shared_bytes = shared_bytes}, tensors,
           block);
    launch(d_kv_kernel<E, Sum>, stream,
           {.blocks = sizes.num_keys * sizes.kv_heads, .threads = kTileThreads, .shared_bytes = shared_bytes}, tensors,
           block);
  });
}

}  // namespace rondo::cuda

// SPDX-License-Identifier: Apache-2.0
// Fused attention forward. A block of threads keeps one tile of queries of one head, and its running softmax, while it walks
// the tiles of keys that some of them see. Keys arrive while the product with the values before them is computed, values
// while the product with their keys is: two buffers that are refilled in turn.
#include "kernels/cuda/fused_attention.cuh"
#include "kernels/cuda/non_finite.cuh"

namespace rondo::cuda {

namespace {

/// Registers of a lane at D = 128: 128 for the output, 64 for the scores, which become probabilities in place, 12 for operands,
/// 8 for the running softmax, the rest for addresses. A warp takes 32 rows because each operand read from shared memory is then
/// used twice; with 16 rows, reading takes as long as multiplying. Shared memory at D = 128: 68 KiB, so two blocks of threads
/// share a multiprocessor of sm_80 and sm_90.
template <int kDim> struct ForwardTiling {
  static constexpr int kWarps = 4, kThreads = 32 * kWarps;
  static constexpr int kRowFragments = 2;  // of 16 rows, in a warp
  static constexpr int kQueries = 16 * kRowFragments * kWarps;
  static constexpr int kKeys = 64;
  static constexpr int kSharedBytes = (kQueries + 2 * kKeys) * kTileRowBytes<kDim>;
  static_assert(kSharedBytes <= kMostSharedBytes);
};

using Tensors = ForwardTensors<__nv_bfloat16, float>;

/// The running softmax of 16 kRows rows of a warp. A lane has 2 kRows rows, which it shares with three other lanes.
template <int kDim> struct RunningSoftmax {
  static constexpr int kRows = ForwardTiling<kDim>::kRowFragments;
  SumFragment out[kRows][kDim / 8];  // sum of p v
  float maximum[kRows][2];           // of the scaled scores, natural; -inf: nothing seen
  float sum[kRows][2];               // of p, those of this lane

  /// Scores of a tile of keys become p = exp(scale score - maximum); what came before is scaled down if the maximum grows.
  /// A masked score is -inf and so is the maximum of a row that has seen nothing: its p must be 0, not exp(-inf + inf).
  template <int kColumns>
  __device__ void add_scores(SumFragment (&scores)[kRows][kColumns], float scale, float scale_log2e) {
    RONDO_UNROLL
    for (int m = 0; m < kRows; ++m) {
      RONDO_UNROLL
      for (int half = 0; half < 2; ++half) {
        float largest = kNothing;
        RONDO_UNROLL
        for (int n = 0; n < kColumns; ++n) {
          largest = fmaxf(largest, fmaxf(scores[m][n].x[2 * half], scores[m][n].x[2 * half + 1]));
        }
        largest = across_row(largest, [](float a, float b) { return fmaxf(a, b); });
        const float now = fmaxf(maximum[m][half], scale * largest);
        // Each product is rounded, none is part of a fused multiply-add: so fade is exactly 1 while the maximum stays. Else
        // what the first tiles gave would shrink or grow with every tile, by the rounding error of one product.
        const float base = now == kNothing ? 0 : __fmul_rn(now, kLog2E);
        const float fade = exp2_fast(__fadd_rn(__fmul_rn(maximum[m][half], kLog2E), -base));
        maximum[m][half] = now;
        float total = sum[m][half] * fade;
        RONDO_UNROLL
        for (int n = 0; n < kColumns; ++n) {
          RONDO_UNROLL
          for (int e = 2 * half; e < 2 * half + 2; ++e) {
            // One rounding: scale log2(e) score - base
            scores[m][n].x[e] = exp2_fast(fmaf(scores[m][n].x[e], scale_log2e, -base));
            total += scores[m][n].x[e];
          }
        }
        sum[m][half] = total;
        RONDO_UNROLL
        for (int n = 0; n < kDim / 8; ++n) {
          out[m][n].x[2 * half] *= fade;
          out[m][n].x[2 * half + 1] *= fade;
        }
      }
    }
  }
};

/// For `count` rows of a warp, from query `first`. The carry enters as one more key: its scaled score is lse, its weight 1, its value the output so far.
template <int kDim>
__device__ void load_carry(RunningSoftmax<kDim>& softmax, const Tensors& tensors, const AttentionSizes& sizes, int head,
                           std::int64_t first, int count) {
  constexpr int kRows = RunningSoftmax<kDim>::kRows;
  RONDO_UNROLL
  for (int m = 0; m < kRows; ++m) {
    softmax.maximum[m][0] = softmax.maximum[m][1] = kNothing;
    softmax.sum[m][0] = softmax.sum[m][1] = 0;
  }
  for_own_rows<kRows>(count, [&](int m, int half, int row) {
    const float lse = tensors.lse[head * sizes.num_queries + first + row];
    softmax.maximum[m][half] = lse;
    if (lane_column() == 0 && lse != kNothing) softmax.sum[m][half] = 1;
    const float* out = tensors.out + ((first + row) * sizes.heads + head) * kDim + lane_column();
    RONDO_UNROLL
    for (int n = 0; n < kDim / 8; ++n) {
      const FloatPair pair = *reinterpret_cast<const FloatPair*>(out + 8 * n);
      softmax.out[m][n].x[2 * half] = pair.x;
      softmax.out[m][n].x[2 * half + 1] = pair.y;
    }
  });
}

/// (out, lse) <- (sum of p v / sum of p, maximum + log(sum of p)); a row that has seen nothing stays (0, -inf), and NaN passes.
template <int kDim>
__device__ void store_carry(const RunningSoftmax<kDim>& softmax, const Tensors& tensors, const AttentionSizes& sizes,
                            int head, std::int64_t first, int count) {
  constexpr int kRows = RunningSoftmax<kDim>::kRows;
  float totals[kRows][2];
  RONDO_UNROLL
  for (int m = 0; m < kRows; ++m) {
    RONDO_UNROLL
    for (int half = 0; half < 2; ++half) {
      totals[m][half] = across_row(softmax.sum[m][half], [](float a, float b) { return a + b; });
    }
  }
  for_own_rows<kRows>(count, [&](int m, int half, int row) {
    const float total = totals[m][half];
    if (total == 0) return;
    float* out = tensors.out + ((first + row) * sizes.heads + head) * kDim + lane_column();
    RONDO_UNROLL
    for (int n = 0; n < kDim / 8; ++n) {
      *reinterpret_cast<FloatPair*>(out + 8 * n) = {softmax.out[m][n].x[2 * half] / total,
                                                    softmax.out[m][n].x[2 * half + 1] / total};
    }
    if (lane_column() == 0) {
      tensors.lse[head * sizes.num_queries + first + row] = softmax.maximum[m][half] + logf(total);
    }
  });
}

/// @param scale_log2e tensors.scale * kLog2E, from the host: a parameter needs no register
template <int kDim>
__global__ void __launch_bounds__(ForwardTiling<kDim>::kThreads)
    fused_forward_kernel(const Tensors tensors, const float scale_log2e, const BlockGeometry block) {
  using Tiling = ForwardTiling<kDim>;
  constexpr int kThreads = Tiling::kThreads, kKeys = Tiling::kKeys, kRows = Tiling::kRowFragments;
  auto* q = dynamic_shared<__nv_bfloat16>();
  __nv_bfloat16* k = q + Tiling::kQueries * kTileStride<kDim>;
  __nv_bfloat16* v = k + kKeys * kTileStride<kDim>;
  const QueryTile<kDim, Tiling::kQueries> queries(block.sizes);
  const KeyTileWalk<kKeys> walk(block.key_runs, block.visible + queries.first, queries.count());
  KeyTile tile;
  if (!walk.next(tile)) return;  // no query of the tile sees any key: their carry stays
  queries.template copy_queries<kThreads>(q, tensors.q);
  queries.template copy_keys<kThreads, kKeys>(k, tensors.k, tile);

  const int warp_row = static_cast<int>(threadIdx.x / 32) * 16 * kRows;
  const int first = queries.first + warp_row, count = queries.count() - warp_row;
  RunningSoftmax<kDim> softmax;
  load_carry(softmax, tensors, block.sizes, queries.head, first, count);
  for (bool more = true; more;) {
    wait_for_copies();
    __syncthreads();  // the keys are there; all have read the values of the tile before
    queries.template copy_keys<kThreads, kKeys>(v, tensors.v, tile);

    // s = q k^T
    SumFragment scores[kRows][kKeys / 8];
    add_product_of_rows<kDim>(scores, q + warp_row * kTileStride<kDim>, k);
    if (!tile.all_see) {
      hide(scores, kNothing, block.visible + first, count, KeyPositions(block.key_runs, tile, tile.count<kKeys>()));
    }
    wait_for_copies();
    // The values are there; all have read the keys.
    const bool is_spoilt = meet_and_look<kDim, kKeys, kThreads>(tile.all_see, v);
    more = walk.next(tile);
    if (more) queries.template copy_keys<kThreads, kKeys>(k, tensors.k, tile);

    // p = softmax(scale s), out += p v
    softmax.add_scores(scores, tensors.scale, scale_log2e);
    if (is_spoilt) move_non_finite<kDim, kThreads>(scores, v);
    add_product_of_columns<kDim>(softmax.out, scores, v);
  }
  store_carry(softmax, tensors, block.sizes, queries.head, first, count);
}

}  // namespace

void fused_attention_forward(Stream& stream, const BlockAttentionForwardArgs& args) {
  Arena::Scope scope(args.scratch);
  const BlockGeometry block = geometry_of(stream, args);
  const Tensors tensors = forward_tensors<bf16>(args);
  const bool has_kernel = with_fused_head_dim(block.sizes.head_dim, [&](auto dim) {
    constexpr int kDim = dim;
    using Tiling = ForwardTiling<kDim>;
    launch(fused_forward_kernel<kDim>, stream,
           {.blocks = QueryTile<kDim, Tiling::kQueries>::num_blocks(block.sizes),
            .threads = Tiling::kThreads,
            .shared_bytes = Tiling::kSharedBytes},
           tensors, tensors.scale * kLog2E, block);
  });
  ensure(has_kernel, "fused_attention_takes has said that there is a kernel for this head dimension");
}

}  // namespace rondo::cuda

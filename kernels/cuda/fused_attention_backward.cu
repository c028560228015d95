// SPDX-License-Identifier: Apache-2.0
// Fused attention backward, without atomics: one kernel keeps a tile of keys and walks the queries for d_k and d_v, another
// keeps a tile of queries and walks the keys for d_q. Both compute scores and d_p = d_out v^T, so there are 7 products where
// one kernel that adds to d_q of all tiles needs 5. That kernel would have to add with atomics, in an order that timing
// decides, or make blocks of threads wait for each other; here every sum has one owner and one order: the same bits always.
#include "kernels/cuda/fused_attention.cuh"
#include "kernels/cuda/non_finite.cuh"

namespace rondo::cuda {

namespace {

using Tensors = BackwardTensors<__nv_bfloat16, float>;

/// score <- p = exp(scale score - lse), d_p <- ds = p (d_p - delta). Hidden pairs come out as anything; they are hidden after it,
/// since nothing that they were made of may be finite: a query that sees no key at all has lse -inf.
__device__ inline void differentiate(float& score, float& d_p, float scale_log2e, float lse_log2e, float delta) {
  score = exp2_fast(fmaf(score, scale_log2e, -lse_log2e));
  d_p = score * (d_p - delta);
}

/// to += factor sums, for the rows of this lane below `count`.
template <int kDim, int kRows>
__device__ void add_rows(float* to, int row_elements, const SumFragment (&sums)[kRows][kDim / 8], float factor,
                         int count) {
  for_own_rows<kRows>(count, [&](int m, int half, int row) {
    float* mine = to + std::int64_t{row} * row_elements + lane_column();
    RONDO_UNROLL
    for (int n = 0; n < kDim / 8; ++n) {
      auto* pair = reinterpret_cast<FloatPair*>(mine + 8 * n);
      *pair = {pair->x + factor * sums[m][n].x[2 * half], pair->y + factor * sums[m][n].x[2 * half + 1]};
    }
  });
}

/// Registers of a lane at D = 128: 128 for d_q, 32 each for scores and d_p, 12 for operands, 8 for lse and delta, the rest for
/// addresses. Shared memory at D = 128: 94 KiB, so two blocks of threads share a multiprocessor of sm_90. Keys have two buffers
/// because they are needed until the end of a tile; values have one, which is filled again during the product that is left.
template <int kDim> struct QueryTiling {
  static constexpr int kWarps = 4, kThreads = 32 * kWarps;
  static constexpr int kRowFragments = 2;  // of 16 rows, in a warp
  static constexpr int kQueries = 16 * kRowFragments * kWarps;
  static constexpr int kKeys = 32;
  static constexpr int kSharedBytes = (2 * kQueries + 3 * kKeys) * kTileRowBytes<kDim>;
  static_assert(kSharedBytes <= kMostSharedBytes);
};

/// d_q += sum over keys of scale ds k, for one tile of queries of one head.
/// @param scale_log2e tensors.scale * kLog2E
template <int kDim>
__global__ void __launch_bounds__(QueryTiling<kDim>::kThreads)
    fused_d_q_kernel(const Tensors tensors, const float scale_log2e, const BlockGeometry block) {
  using Tiling = QueryTiling<kDim>;
  constexpr int kThreads = Tiling::kThreads, kKeys = Tiling::kKeys, kRows = Tiling::kRowFragments;
  constexpr int kQueries = Tiling::kQueries, kStride = kTileStride<kDim>;
  auto* q = dynamic_shared<__nv_bfloat16>();
  __nv_bfloat16* d_out = q + kQueries * kStride;
  __nv_bfloat16* v = d_out + kQueries * kStride;
  __nv_bfloat16* k = v + kKeys * kStride;
  __nv_bfloat16* other_k = k + kKeys * kStride;
  const QueryTile<kDim, kQueries> queries(block.sizes);
  const KeyTileWalk<kKeys> walk(block.key_runs, block.visible + queries.first, queries.count());
  KeyTile tile;
  if (!walk.next(tile)) return;
  queries.template copy_queries<kThreads>(q, tensors.q);
  queries.template copy_queries<kThreads>(d_out, tensors.d_out);
  queries.template copy_keys<kThreads, kKeys>(k, tensors.k, tile);
  queries.template copy_keys<kThreads, kKeys>(v, tensors.v, tile);

  const int warp_row = static_cast<int>(threadIdx.x / 32) * 16 * kRows;
  const int first = queries.first + warp_row, count = queries.count() - warp_row;
  float lse_log2e[kRows][2] = {}, delta[kRows][2] = {};
  for_own_rows<kRows>(count, [&](int m, int half, int row) {
    const std::int64_t statistic = queries.head * block.sizes.num_queries + first + row;
    lse_log2e[m][half] = tensors.lse[statistic] * kLog2E;
    delta[m][half] = tensors.delta[statistic];
  });
  SumFragment d_q[kRows][kDim / 8];
  for (bool more = true; more;) {
    wait_for_copies();
    // The tile is there; all have read the keys of the one before.
    const bool is_spoilt = meet_and_look<kDim, kKeys, kThreads>(tile.all_see, k);
    KeyTile next = tile;
    more = walk.next(next);
    if (more) queries.template copy_keys<kThreads, kKeys>(other_k, tensors.k, next);

    // s = q k^T, d_p = d_out v^T
    SumFragment scores[kRows][kKeys / 8], d_p[kRows][kKeys / 8];
    add_product_of_rows<kDim>(scores, q + warp_row * kStride, k);
    add_product_of_rows<kDim>(d_p, d_out + warp_row * kStride, v);
    __syncthreads();  // all have read the values
    if (more) queries.template copy_keys<kThreads, kKeys>(v, tensors.v, next);

    // ds = p (d_p - delta), d_q += ds k
    RONDO_UNROLL
    for (int m = 0; m < kRows; ++m) {
      RONDO_UNROLL
      for (int n = 0; n < kKeys / 8; ++n) {
        RONDO_UNROLL
        for (int e = 0; e < 4; ++e) {
          differentiate(scores[m][n].x[e], d_p[m][n].x[e], scale_log2e, lse_log2e[m][e / 2], delta[m][e / 2]);
        }
      }
    }
    if (!tile.all_see) {
      hide(d_p, 0, block.visible + first, count, KeyPositions(block.key_runs, tile, tile.count<kKeys>()));
    }
    if (is_spoilt) move_non_finite<kDim, kThreads>(d_p, k);
    add_product_of_columns<kDim>(d_q, d_p, k);
    __nv_bfloat16* read = k;
    k = other_k;
    other_k = read;
    tile = next;
  }
  add_rows<kDim>(tensors.d_q + queries.element() + std::int64_t{warp_row} * queries.row_elements(),
                 queries.row_elements(), d_q, tensors.scale, count);
}

/// Registers of a lane at D = 128: 64 each for d_k and d_v, 16 each for scores and d_p, 8 for operands, the rest for addresses.
/// A warp keeps 16 keys: with 32, d_k and d_v alone would fill the registers. Scores and d_p are computed transposed, keys as
/// rows: so p^T and ds^T are left operands as they come. Shared memory at D = 128: 69 KiB.
template <int kDim> struct KeyTiling {
  static constexpr int kWarps = 4, kThreads = 32 * kWarps;
  static constexpr int kKeys = 16 * kWarps;
  static constexpr int kQueries = 32;
  static constexpr int kStatisticBytes = 2 * kQueries * 4;                                   // lse, delta
  static constexpr int kBufferBytes = 2 * kQueries * kTileRowBytes<kDim> + kStatisticBytes;  // q, d_out, both of them
  static constexpr int kSharedBytes = 2 * kKeys * kTileRowBytes<kDim> + 2 * kBufferBytes;
  static_assert(kSharedBytes <= kMostSharedBytes);
};

/// The queries of one tile as they lie in one of the two buffers.
template <int kDim> struct QueryBuffer {
  __nv_bfloat16* q;
  __nv_bfloat16* d_out;
  float* lse;
  float* delta;

  __device__ explicit QueryBuffer(char* memory)
      : q(reinterpret_cast<__nv_bfloat16*>(memory)),
        d_out(q + KeyTiling<kDim>::kQueries * kTileStride<kDim>),
        lse(reinterpret_cast<float*>(d_out + KeyTiling<kDim>::kQueries * kTileStride<kDim>)),
        delta(lse + KeyTiling<kDim>::kQueries) {}

  /// Zeros stand for queries behind the last, which no key sees.
  __device__ void fill(const Tensors& tensors, const AttentionSizes& sizes, int head, int first, int count) {
    constexpr int kQueries = KeyTiling<kDim>::kQueries, kThreads = KeyTiling<kDim>::kThreads;
    const int row_elements = static_cast<int>(sizes.heads) * kDim;
    const std::int64_t from = std::int64_t{first} * row_elements + head * kDim;
    copy_rows_async<kDim, kQueries, kThreads>(q, tensors.q + from, row_elements, count);
    copy_rows_async<kDim, kQueries, kThreads>(d_out, tensors.d_out + from, row_elements, count);
    const int row = static_cast<int>(threadIdx.x) % kQueries;
    const bool exists = row < count;
    const std::int64_t statistic = head * sizes.num_queries + first + (exists ? row : 0);
    if (threadIdx.x < kQueries) copy_async<4>(lse + row, tensors.lse + statistic, exists);
    if (threadIdx.x >= kThreads - kQueries) copy_async<4>(delta + row, tensors.delta + statistic, exists);
  }
};

/// The tile of keys that a block of threads keeps. Tiles do not cross runs.
template <int kKeys> __device__ KeyTile own_keys(const DeviceRuns& runs, std::int64_t tile) {
  int run = 0;
  for (; run < runs.num_runs - 1; ++run) {
    const std::int64_t num_tiles = (runs.runs[run].count + kKeys - 1) / kKeys;
    if (tile < num_tiles) break;
    tile -= num_tiles;
  }
  return {.run = run,
          .first = static_cast<int>(runs.runs[run].local_first + tile * kKeys),
          .end = static_cast<int>(runs.runs[run].local_first + runs.runs[run].count)};
}

/// p and ds of hidden pairs become 0. 16 rows are keys from number `first_key` of the tile, columns are queries, of which there
/// are `count`.
template <int kColumns>
__device__ void hide_transposed(SumFragment (&p)[kColumns], SumFragment (&ds)[kColumns],
                                const KeyInterval* visible_to_columns, int count, const KeyPositions& keys,
                                int first_key) {
  RONDO_UNROLL
  for (int n = 0; n < kColumns; ++n) {
    RONDO_UNROLL
    for (int e = 0; e < 2; ++e) {
      const int column = 8 * n + lane_column() + e;
      const SeenInTile seen(column < count ? visible_to_columns[column] : KeyInterval{}, keys);
      RONDO_UNROLL
      for (int half = 0; half < 2; ++half) {
        const int key = first_key + 8 * half + lane_row();
        if (!seen.contains(key * keys.stride)) p[n].x[2 * half + e] = ds[n].x[2 * half + e] = 0;
      }
    }
  }
}

/// d_v += sum of p d_out and d_k += sum of scale ds q, for one tile of keys of one head: over the heads of its group, and
/// for each over the queries that see some of the keys. With a causal mask the first tiles are the longest.
template <int kDim>
__global__ void __launch_bounds__(KeyTiling<kDim>::kThreads)
    fused_d_kv_kernel(const Tensors tensors, const float scale_log2e, const BlockGeometry block) {
  using Tiling = KeyTiling<kDim>;
  constexpr int kThreads = Tiling::kThreads, kQueries = Tiling::kQueries, kStride = kTileStride<kDim>;
  auto* k = dynamic_shared<__nv_bfloat16>();
  __nv_bfloat16* v = k + Tiling::kKeys * kStride;
  auto* buffers = reinterpret_cast<char*>(v + Tiling::kKeys * kStride);
  const AttentionSizes& sizes = block.sizes;
  const int kv_heads = static_cast<int>(sizes.kv_heads), turn = static_cast<int>(blockIdx.x), group = turn % kv_heads;
  const KeyTile tile = own_keys<Tiling::kKeys>(block.key_runs, turn / kv_heads);
  const int num_keys = tile.count<Tiling::kKeys>();
  const KeyPositions positions(block.key_runs, tile, num_keys);
  const QueryRange range = queries_of(positions, block.visible, static_cast<int>(sizes.num_queries));
  if (range.some_begin >= range.some_end) return;

  const int key_elements = kv_heads * kDim, num_heads = static_cast<int>(sizes.heads) / kv_heads;
  const std::int64_t element = std::int64_t{tile.first} * key_elements + group * kDim;
  int head = group * num_heads, first = range.some_begin;
  const auto count_from = [&](int query) {
    return range.some_end - query < kQueries ? range.some_end - query : kQueries;
  };
  copy_rows_async<kDim, Tiling::kKeys, kThreads>(k, tensors.k + element, key_elements, num_keys);
  copy_rows_async<kDim, Tiling::kKeys, kThreads>(v, tensors.v + element, key_elements, num_keys);
  QueryBuffer<kDim>(buffers).fill(tensors, sizes, head, first, count_from(first));

  const int warp_row = static_cast<int>(threadIdx.x / 32) * 16;
  SumFragment d_k[1][kDim / 8], d_v[1][kDim / 8];
  int used = 0;
  for (bool more = true; more; used ^= 1) {
    const int now = first;
    const QueryBuffer<kDim> queries(buffers + used * Tiling::kBufferBytes);
    const bool all_see = range.all_begin <= now && now + kQueries <= range.all_end;
    wait_for_copies();
    // The queries are there; all have read those before.
    const bool is_spoilt = meet_and_look<kDim, kQueries, kThreads>(all_see, queries.q, queries.d_out);
    first += kQueries;
    if (first >= range.some_end) first = range.some_begin, ++head;
    more = head < (group + 1) * num_heads;
    if (more) {
      QueryBuffer<kDim>(buffers + (used ^ 1) * Tiling::kBufferBytes)
          .fill(tensors, sizes, head, first, count_from(first));
    }

    // s^T = k q^T, d_p^T = v d_out^T
    SumFragment scores[1][kQueries / 8], d_p[1][kQueries / 8];
    add_product_of_rows<kDim>(scores, k + warp_row * kStride, queries.q);
    add_product_of_rows<kDim>(d_p, v + warp_row * kStride, queries.d_out);
    RONDO_UNROLL
    for (int n = 0; n < kQueries / 8; ++n) {
      RONDO_UNROLL
      for (int e = 0; e < 4; ++e) {
        const int column = 8 * n + lane_column() + e % 2;
        differentiate(scores[0][n].x[e], d_p[0][n].x[e], scale_log2e, queries.lse[column] * kLog2E,
                      queries.delta[column]);
      }
    }
    if (!all_see) hide_transposed(scores[0], d_p[0], block.visible + now, count_from(now), positions, warp_row);
    if (is_spoilt) {
      move_non_finite<kDim, kThreads>(scores, queries.d_out);
      move_non_finite<kDim, kThreads>(d_p, queries.q);
    }
    // d_v += p^T d_out, d_k += ds^T q
    add_product_of_columns<kDim>(d_v, scores, queries.d_out);
    add_product_of_columns<kDim>(d_k, d_p, queries.q);
  }
  const int count = num_keys - warp_row;
  const std::int64_t of_warp = element + std::int64_t{warp_row} * key_elements;
  add_rows<kDim>(tensors.d_k + of_warp, key_elements, d_k, tensors.scale, count);
  add_rows<kDim>(tensors.d_v + of_warp, key_elements, d_v, 1, count);
}

}  // namespace

void fused_attention_backward(Stream& stream, const BlockAttentionBackwardArgs& args) {
  Arena::Scope scope(args.scratch);
  const BlockGeometry block = geometry_of(stream, args);
  const Tensors tensors = backward_tensors<bf16>(args);
  const float scale_log2e = tensors.scale * kLog2E;
  const bool has_kernel = with_fused_head_dim(block.sizes.head_dim, [&](auto dim) {
    constexpr int kDim = dim;
    using Queries = QueryTiling<kDim>;
    using Keys = KeyTiling<kDim>;
    std::int64_t key_tiles = 0;
    for (const TokenRun& run : args.key_runs) key_tiles += (run.count + Keys::kKeys - 1) / Keys::kKeys;
    launch(fused_d_q_kernel<kDim>, stream,
           {.blocks = QueryTile<kDim, Queries::kQueries>::num_blocks(block.sizes),
            .threads = Queries::kThreads,
            .shared_bytes = Queries::kSharedBytes},
           tensors, scale_log2e, block);
    launch(fused_d_kv_kernel<kDim>, stream,
           {.blocks = key_tiles * block.sizes.kv_heads, .threads = Keys::kThreads, .shared_bytes = Keys::kSharedBytes},
           tensors, scale_log2e, block);
  });
  ensure(has_kernel, "fused_attention_takes has said that there is a kernel for this head dimension");
}

}  // namespace rondo::cuda

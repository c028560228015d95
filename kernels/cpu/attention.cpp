// SPDX-License-Identifier: Apache-2.0
// Forward attention of one block: divides the rows into blocks of a few tiles, keeps their running softmax, and visits the keys
// tile by tile. Every block is independent of the others, so results depend on neither threads nor timing.
#include <cmath>
#include <limits>

#include "kernels/cpu/attention_rows.hpp"
#include "kernels/cpu/context.hpp"
#include "kernels/cpu/operations.hpp"

namespace rondo::cpu {

namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
// Tiles of rows that share a packed tile of keys: packing then costs about 2 % of the arithmetic.
constexpr std::int64_t kMaxTilesPerBlock = 4;

struct TileState {
  void* queries;
  float* out;
  float* maximum;
  float* sum;
  RowTile rows;
};

/// The scratch of a call, and its parts.
struct AttentionForwardScratch {
  // @pre inside a scope of the scratch
  AttentionForwardScratch(const Context& context, const BlockAttentionForwardArgs& args, const AttentionSizes& sizes)
      : visible(VisibleKeys::take(args.query_runs, args.key_runs, args.scratch)) {
    const AttentionKernels& kernels = attention_kernels_for(context, args.q.dtype);
    const int dim = static_cast<int>(sizes.head_dim), multiple = kernels.dim_multiple;
    dims = {dim, (dim + multiple - 1) / multiple * multiple};
    bytes = kernels.sizes(dims, kernels.key_tile, 0);
    // Enough blocks for many threads; the division depends on the shapes only, not on the number of threads.
    const std::int64_t num_tiles = RowTiling(sizes, kernels.query_tile).num_tiles();
    tiles_per_block = std::clamp<std::int64_t>(num_tiles * sizes.kv_heads / 64, 1, kMaxTilesPerBlock);
    const std::size_t state =
        2 * Pieces::padded(kMaxQueryTile * sizeof(float)) + Pieces::padded(bytes.queries) + Pieces::padded(bytes.out);
    thread_bytes =
        Pieces::padded(bytes.keys) + Pieces::padded(bytes.work) + static_cast<std::size_t>(tiles_per_block) * state;
    threads = static_cast<char*>(args.scratch.take(thread_bytes * static_cast<std::size_t>(context.threads)));
  }

  VisibleKeys::Memory visible;
  AttentionDims dims;
  AttentionSizesBytes bytes;
  std::int64_t tiles_per_block;
  std::size_t thread_bytes;
  char* threads;
};

class ForwardBlocks {
 public:
  ForwardBlocks(const Context& context, const BlockAttentionForwardArgs& args, const AttentionSizes& sizes)
      : args_(args),
        sizes_(sizes),
        storage_(storage_of(args.q.dtype)),
        kernels_(attention_kernels_for(context, args.q.dtype)),
        tiling_(sizes, kernels_.query_tile),
        scratch_(context, args, sizes),
        visible_(args.query_runs, args.key_runs, args.mask, scratch_.visible) {}

  std::int64_t num_items() const { return num_blocks() * sizes_.kv_heads; }

  // The last blocks are processed first: with a causal mask they take longest.
  void run(Worker& worker, std::int64_t item) const {
    const std::int64_t group = item % sizes_.kv_heads;
    const std::int64_t block = num_blocks() - 1 - item / sizes_.kv_heads;
    Pieces pieces(scratch_.threads + scratch_.thread_bytes * static_cast<std::size_t>(worker.index()));
    void* keys = pieces.take(scratch_.bytes.keys);
    void* work = pieces.take(scratch_.bytes.work);
    TileState tiles[kMaxTilesPerBlock];
    const std::int64_t first_tile = block * scratch_.tiles_per_block;
    const int num_tiles = static_cast<int>(std::min(scratch_.tiles_per_block, tiling_.num_tiles() - first_tile));
    for (int i = 0; i < num_tiles; ++i) {
      tiles[i] = {.queries = pieces.take(scratch_.bytes.queries),
                  .out = pieces.take<float>(scratch_.bytes.out),
                  .maximum = pieces.take<float>(kMaxQueryTile * sizeof(float)),
                  .sum = pieces.take<float>(kMaxQueryTile * sizeof(float)),
                  .rows = tiling_.tile(first_tile + i)};
      load(tiles[i], group);
    }
    worker.tick();
    for (int run = 0; run < args_.key_runs.num_runs(); ++run) {
      if (!walk_keys(worker, run, group, {tiles, static_cast<std::size_t>(num_tiles)}, keys, work)) return;
    }
    for (int i = 0; i < num_tiles; ++i) store(tiles[i], group);
  }

 private:
  std::int64_t num_blocks() const {
    return (tiling_.num_tiles() + scratch_.tiles_per_block - 1) / scratch_.tiles_per_block;
  }

  bool walk_keys(Worker& worker, int run, std::int64_t group, std::span<TileState> tiles, void* keys,
                 void* work) const {
    const TokenRun& key_run = args_.key_runs[run];
    const std::int64_t begin = visible_.begin(run, tiles.front().rows.first_token);
    const std::int64_t end = visible_.end(run, tiles.back().rows.last_token);
    const std::int64_t row_elements = sizes_.kv_heads * sizes_.head_dim;
    LaneKeys lanes[kMaxTilesPerBlock];
    if (begin < end) {
      for (std::size_t i = 0; i < tiles.size(); ++i) lanes[i].fill(visible_, run, tiling_, tiles[i].rows, group);
    }
    // Tiles of keys are aligned to the start of the run, so results do not depend on how rows are divided into blocks.
    const std::int64_t skipped = (begin - key_run.local_first) / kernels_.key_tile * kernels_.key_tile;
    for (std::int64_t first = key_run.local_first + skipped; first < end; first += kernels_.key_tile) {
      const int count = static_cast<int>(std::min<std::int64_t>(kernels_.key_tile, end - first));
      const std::int64_t element = (first * sizes_.kv_heads + group) * sizes_.head_dim;
      kernels_.pack_keys(scratch_.dims, storage_, at(args_.k, element), at(args_.v, element), row_elements, count, keys,
                         kernels_.key_tile);
      for (std::size_t i = 0; i < tiles.size(); ++i) {
        const TileState& tile = tiles[i];
        const TileKeys seen = keys_of_tile(visible_, run, tile.rows, first, first + count);
        if (seen.begin >= seen.end) continue;
        const int offset = static_cast<int>(seen.begin - first) / kernels_.key_multiple * kernels_.key_multiple;
        const auto first_key = static_cast<std::int32_t>(first + offset);
        const bool all = seen.all && first_key == seen.begin;
        kernels_.forward({.dims = scratch_.dims,
                          .queries = tile.queries,
                          .keys = keys,
                          .capacity = kernels_.key_tile,
                          .first_row = offset,
                          .num_keys = seen.end - first_key,
                          .first_key = first_key,
                          .visible = all ? LaneIntervals{} : LaneIntervals{lanes[i].begin, lanes[i].end},
                          .scale = static_cast<float>(args_.scale),
                          .out = tile.out,
                          .maximum = tile.maximum,
                          .sum = tile.sum,
                          .work = work});
        worker.tick();
      }
      if (worker.stopped()) return false;
    }
    return true;
  }

  // The carry enters as one more key: its scaled score is lse, its weight 1, its value the output so far.
  void load(TileState& tile, std::int64_t group) const {
    const void* q[kMaxQueryTile];
    const float* out[kMaxQueryTile];
    const float* lse = args_.carry.lse.as<float>();
    for (int lane = 0; lane < kMaxQueryTile; ++lane) tile.maximum[lane] = kMinusInfinity, tile.sum[lane] = 0;
    tiling_.for_each(tile.rows, group, [&](int lane, std::int64_t token, std::int64_t head) {
      const std::int64_t element = (token * sizes_.heads + head) * sizes_.head_dim;
      q[lane] = at(args_.q, element);
      out[lane] = args_.carry.out.as<float>() + element;
      const float seen = lse[head * sizes_.num_queries + token];
      if (seen == kMinusInfinity) return;
      tile.maximum[lane] = seen;
      tile.sum[lane] = 1;
    });
    kernels_.pack_queries(scratch_.dims, storage_, q, tile.rows.count, tile.queries);
    kernels_.load_out(scratch_.dims, out, tile.rows.count, tile.out);
  }

  void store(const TileState& tile, std::int64_t group) const {
    float* out[kMaxQueryTile];
    float factor[kMaxQueryTile];
    float* lse = args_.carry.lse.as<float>();
    tiling_.for_each(tile.rows, group, [&](int lane, std::int64_t token, std::int64_t head) {
      out[lane] = args_.carry.out.as<float>() + (token * sizes_.heads + head) * sizes_.head_dim;
      const bool lowest = tile.maximum[lane] == kMinusInfinity, empty = lowest && tile.sum[lane] == 0;
      // If all visible keys have scores of -inf or NaN, the softmax is undefined: NaN.
      const float sum = lowest ? std::numeric_limits<float>::quiet_NaN() : tile.sum[lane];
      factor[lane] = empty ? 0 : 1 / sum;
      if (empty) return;
      lse[head * sizes_.num_queries + token] =
          static_cast<float>(static_cast<double>(tile.maximum[lane]) + std::log(static_cast<double>(sum)));
    });
    kernels_.store_out(scratch_.dims, out, tile.rows.count, tile.out, factor);
  }

  const BlockAttentionForwardArgs& args_;
  AttentionSizes sizes_;
  Storage storage_;
  const AttentionKernels& kernels_;
  RowTiling tiling_;
  AttentionForwardScratch scratch_;
  VisibleKeys visible_;
};

}  // namespace

void block_attention_forward(const Context& context, Stream& stream, const BlockAttentionForwardArgs& args) {
  const AttentionSizes sizes = check(args);
  if (sizes.num_queries == 0 || sizes.num_keys == 0) return;
  Arena::Scope scope(args.scratch);
  const ForwardBlocks blocks(context, args, sizes);
  parallel_items(stream, threads_for(most_flop(sizes), context.threads), blocks.num_items(),
                 [&](Worker& worker, std::int64_t item) { blocks.run(worker, item); });
}

void take_scratch(const Context& context, const BlockAttentionForwardArgs& args) {
  const AttentionSizes sizes = check(args);
  if (sizes.num_queries == 0 || sizes.num_keys == 0) return;
  Arena::Scope scope(args.scratch);
  AttentionForwardScratch(context, args, sizes);
}

void attention_delta(const Context& context, Stream& stream, const AttentionDeltaArgs& args) {
  check(args);
  const Storage storage = storage_of(args.d_out.dtype);
  const std::int64_t tokens = args.out.shape[0], heads = args.out.shape[1], dim = args.out.shape[2];
  float* delta = args.delta.as<float>();
  constexpr std::int64_t kRows = 256;
  parallel_chunks(stream, context.threads, tokens * heads, kRows, [&](Worker&, std::int64_t begin, std::int64_t end) {
    float dots[kRows];
    context.kernels.rows.row_dots(args.out.as<float>() + begin * dim, storage, at(args.d_out, begin * dim), end - begin,
                                  dim, dots);
    for (std::int64_t row = begin; row < end; ++row) delta[row % heads * tokens + row / heads] = dots[row - begin];
  });
}

}  // namespace rondo::cpu

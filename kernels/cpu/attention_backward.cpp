// SPDX-License-Identifier: Apache-2.0
// Backward attention of one block. A block of keys is one item: it keeps its sums of d_k and d_v and visits the tiles of rows
// in ascending order. Contributions to d_q are added in the order of the key blocks: a thread waits for its turn at each
// tile, so sums have one order for any number of threads. Blocks are claimed in ascending order, so the first unfinished one
// never waits, and one block follows another at a distance of one tile.
#include <cmath>
#include <new>

#include "kernels/cpu/attention_rows.hpp"
#include "kernels/cpu/context.hpp"
#include "kernels/cpu/operations.hpp"

namespace rondo::cpu {

namespace {

// Keys per block: long blocks amortise the packing of rows, short ones stay in L2 and keep a tile below the progress interval.
int keys_per_block(std::int64_t head_dim, int multiple) {
  const int keys = static_cast<int>(std::clamp<std::int64_t>(12288 / head_dim / 48, 1, 4)) * 48;
  return (keys + multiple - 1) / multiple * multiple;
}

using Turn = std::atomic<std::int32_t>;

/// The scratch of a call, and its parts.
struct AttentionBackwardScratch {
  // @pre inside a scope of the scratch
  AttentionBackwardScratch(const Context& context, const BlockAttentionBackwardArgs& args, const AttentionSizes& sizes)
      : visible(VisibleKeys::take(args.query_runs, args.key_runs, args.scratch)) {
    const AttentionKernels& kernels = attention_kernels_for(context, args.q.dtype);
    block_keys = keys_per_block(sizes.head_dim, kernels.key_multiple);
    const int dim = static_cast<int>(sizes.head_dim), multiple = kernels.dim_multiple;
    dims = {dim, (dim + multiple - 1) / multiple * multiple};
    bytes = kernels.sizes(dims, 0, block_keys);
    thread_bytes = Pieces::padded(bytes.query_gradients) + Pieces::padded(bytes.key_gradients) +
                   Pieces::padded(bytes.work) + Pieces::padded(bytes.out);
    threads = static_cast<char*>(args.scratch.take(thread_bytes * static_cast<std::size_t>(context.threads)));
    num_turns = RowTiling(sizes, kernels.query_tile).num_tiles() * sizes.kv_heads;
    turns = static_cast<Turn*>(args.scratch.take(static_cast<std::size_t>(num_turns) * sizeof(Turn)));
  }

  VisibleKeys::Memory visible;
  int block_keys;
  AttentionDims dims;
  AttentionSizesBytes bytes;
  std::size_t thread_bytes;
  char* threads;
  std::int64_t num_turns;
  Turn* turns;  // not constructed
};

class BackwardBlocks {
 public:
  BackwardBlocks(const Context& context, const BlockAttentionBackwardArgs& args, const AttentionSizes& sizes)
      : args_(args),
        sizes_(sizes),
        storage_(storage_of(args.q.dtype)),
        kernels_(attention_kernels_for(context, args.q.dtype)),
        tiling_(sizes, kernels_.query_tile),
        scratch_(context, args, sizes),
        visible_(args.query_runs, args.key_runs, args.mask, scratch_.visible) {
    for (int run = 0; run < args.key_runs.num_runs(); ++run) {
      first_block_[run] = num_blocks_;
      num_blocks_ += (args.key_runs[run].count + scratch_.block_keys - 1) / scratch_.block_keys;
    }
    for (std::int64_t i = 0; i < scratch_.num_turns; ++i) new (scratch_.turns + i) Turn(0);
  }

  std::int64_t num_items() const { return num_blocks_ * sizes_.kv_heads; }

  void run(Worker& worker, std::int64_t item) const {
    const std::int64_t group = item % sizes_.kv_heads, block = item / sizes_.kv_heads;
    int run = args_.key_runs.num_runs() - 1;
    while (first_block_[run] > block) --run;
    const TokenRun& key_run = args_.key_runs[run];
    const std::int64_t skipped = (block - first_block_[run]) * scratch_.block_keys;
    const std::int64_t first = key_run.local_first + skipped;
    const int count = static_cast<int>(std::min<std::int64_t>(scratch_.block_keys, key_run.count - skipped));

    Pieces pieces(scratch_.threads + scratch_.thread_bytes * static_cast<std::size_t>(worker.index()));
    void* keys = pieces.take(scratch_.bytes.key_gradients);
    void* queries = pieces.take(scratch_.bytes.query_gradients);
    void* work = pieces.take(scratch_.bytes.work);
    float* d_queries = pieces.take<float>(scratch_.bytes.out);
    const std::int64_t element = (first * sizes_.kv_heads + group) * sizes_.head_dim;
    const std::int64_t row_elements = sizes_.kv_heads * sizes_.head_dim;

    bool packed = false;
    for (std::int64_t index = 0; index < tiling_.num_tiles(); ++index) {
      const RowTile tile = tiling_.tile(index);
      const TileKeys seen = keys_of_tile(visible_, run, tile, first, first + count);
      if (seen.begin >= seen.end) continue;
      if (!packed) {
        kernels_.pack_key_gradients(scratch_.dims, storage_, at(args_.k, element), at(args_.v, element), row_elements,
                                    count, keys, scratch_.block_keys);
        packed = true;
      }
      differentiate(run, group, tile, seen, first, keys, queries, d_queries, work);
      worker.tick();
      Turn& turn = scratch_.turns[group * tiling_.num_tiles() + index];
      const std::int32_t mine = blocks_before(block, tile);
      if (!worker.wait_for(turn, mine)) return;
      add_to_queries(group, tile, d_queries);
      turn.store(mine + 1, std::memory_order_release);
    }
    if (!packed) return;
    kernels_.add_keys(scratch_.dims, keys, scratch_.block_keys, args_.d_k.as<float>() + element,
                      args_.d_v.as<float>() + element, row_elements, count);
  }

 private:
  // d_k += d_s^T q, d_v += p^T d_out inside the packed keys; d_queries <- d_s k.
  void differentiate(int run, std::int64_t group, const RowTile& tile, const TileKeys& seen, std::int64_t first,
                     void* keys, void* queries, float* d_queries, void* work) const {
    const void* q[kMaxQueryTile];
    const void* d_out[kMaxQueryTile];
    alignas(64) float lse[kMaxQueryTile] = {}, delta[kMaxQueryTile] = {};
    tiling_.for_each(tile, group, [&](int lane, std::int64_t token, std::int64_t head) {
      const std::int64_t row = (token * sizes_.heads + head) * sizes_.head_dim;
      q[lane] = at(args_.q, row);
      d_out[lane] = at(args_.d_out, row);
      const std::int64_t entry = head * sizes_.num_queries + token;
      lse[lane] = args_.lse.as<float>()[entry];
      delta[lane] = args_.delta.as<float>()[entry];
    });
    kernels_.pack_query_gradients(scratch_.dims, storage_, q, d_out, tile.count, queries);
    const int offset = static_cast<int>(seen.begin - first) / kernels_.key_multiple * kernels_.key_multiple;
    const auto first_key = static_cast<std::int32_t>(first + offset);
    LaneKeys lanes;
    // Lanes without a row must see no key: their zeros times infinity would be NaN.
    const bool all = seen.all && first_key == seen.begin && tile.count == kernels_.query_tile;
    if (!all) lanes.fill(visible_, run, tiling_, tile, group);
    kernels_.backward({.dims = scratch_.dims,
                       .queries = queries,
                       .keys = keys,
                       .capacity = scratch_.block_keys,
                       .first_row = offset,
                       .num_keys = seen.end - first_key,
                       .first_key = first_key,
                       .visible = all ? LaneIntervals{} : LaneIntervals{lanes.begin, lanes.end},
                       .scale = static_cast<float>(args_.scale),
                       .lse = lse,
                       .delta = delta,
                       .d_queries = d_queries,
                       .work = work});
  }

  void add_to_queries(std::int64_t group, const RowTile& tile, const float* d_queries) const {
    float* d_q[kMaxQueryTile];
    tiling_.for_each(tile, group, [&](int lane, std::int64_t token, std::int64_t head) {
      d_q[lane] = args_.d_q.as<float>() + (token * sizes_.heads + head) * sizes_.head_dim;
    });
    kernels_.add_queries(scratch_.dims, d_q, tile.count, d_queries);
  }

  // The number of earlier key blocks that contribute to a tile: those with keys that it sees.
  std::int32_t blocks_before(std::int64_t block, const RowTile& tile) const {
    std::int64_t before = 0;
    for (int run = 0; run < args_.key_runs.num_runs() && first_block_[run] <= block; ++run) {
      const TokenRun& keys = args_.key_runs[run];
      const std::int64_t begin = visible_.begin(run, tile.first_token), end = visible_.end(run, tile.last_token);
      if (begin >= end) continue;
      const std::int64_t first = first_block_[run] + (begin - keys.local_first) / scratch_.block_keys;
      const std::int64_t last = first_block_[run] + (end - 1 - keys.local_first) / scratch_.block_keys;
      before += std::max<std::int64_t>(0, std::min(last + 1, block) - first);
    }
    return static_cast<std::int32_t>(before);
  }

  const BlockAttentionBackwardArgs& args_;
  AttentionSizes sizes_;
  Storage storage_;
  const AttentionKernels& kernels_;
  RowTiling tiling_;
  AttentionBackwardScratch scratch_;
  VisibleKeys visible_;
  std::int64_t first_block_[TokenRuns::kMaxRuns] = {};
  std::int64_t num_blocks_ = 0;
};

}  // namespace

void block_attention_backward(const Context& context, Stream& stream, const BlockAttentionBackwardArgs& args) {
  const AttentionSizes sizes = check(args);
  if (sizes.num_queries == 0 || sizes.num_keys == 0) return;
  Arena::Scope scope(args.scratch);
  const BackwardBlocks blocks(context, args, sizes);
  parallel_items(stream, threads_for(most_flop(sizes), context.threads), blocks.num_items(),
                 [&](Worker& worker, std::int64_t item) { blocks.run(worker, item); });
}

void take_scratch(const Context& context, const BlockAttentionBackwardArgs& args) {
  const AttentionSizes sizes = check(args);
  if (sizes.num_queries == 0 || sizes.num_keys == 0) return;
  Arena::Scope scope(args.scratch);
  AttentionBackwardScratch(context, args, sizes);
}

}  // namespace rondo::cpu

// SPDX-License-Identifier: Apache-2.0
// Which tiles of keys and queries meet, and which elements of a tile count. Every mask is one interval of key positions for
// each query, and both ends ascend with the query: so what some or all queries of a tile see is an interval too, and only
// tiles at its borders are tested element by element.
#pragma once

#include "kernels/cuda/attention.cuh"

namespace rondo::cuda {

/// Consecutive keys of one run. Local tokens are counted in 32 bits: kernels are short of registers.
struct KeyTile {
  int run = -1;
  int first = 0, end = 0;  // local indices; the end of what is seen in the run, which may be several tiles further
  bool all_see = false;    // every query of the tile of queries sees every element; keys that do not exist nobody sees

  template <int kKeys> __device__ int count() const { return end - first < kKeys ? end - first : kKeys; }
};

/// Where the keys of a tile are: at a distance of `stride`.
struct KeyPositions {
  std::int64_t first, last;
  int stride, count;

  __device__ KeyPositions(const DeviceRuns& runs, const KeyTile& tile, int num_keys)
      : first(runs.runs[tile.run].global_of(tile.first - runs.runs[tile.run].local_first)),
        last(first + (num_keys - 1) * runs.runs[tile.run].stride),
        stride(static_cast<int>(runs.runs[tile.run].stride)),
        count(num_keys) {}
};

/// Strides up to here keep distances inside a tile in 32 bits, and so many tokens their indices.
inline constexpr std::int64_t kMaxStride = std::int64_t{1} << 24, kMaxTokens = std::int64_t{1} << 30;

/// The keys of a tile that one query sees, as distances from the tile's first position. Behind the last key nothing is seen.
struct SeenInTile {
  int begin, end;

  __device__ SeenInTile(const KeyInterval& seen, const KeyPositions& keys) {
    const std::int64_t extent = std::int64_t{keys.count} * keys.stride;
    const auto clipped = [&](std::int64_t position) {
      const std::int64_t distance = position - keys.first;
      return static_cast<int>(distance < 0 ? 0 : distance < extent ? distance : extent);
    };
    begin = clipped(seen.begin);
    end = clipped(seen.end);
  }
  __device__ bool contains(int distance) const { return begin <= distance && distance < end; }
};

/// Local keys of one run that some, and that all, of some queries see.
struct SeenInRun {
  int begin, end, all_begin, all_end;
};

/// The tiles, up to kKeys keys each, that some of `count` queries see, in ascending order. With gaps in what they see, a tile
/// may hold nothing: the test of its elements finds that.
template <int kKeys> class KeyTileWalk {
 public:
  /// Divides once for each run, not in the loop that has no registers left. @pre all threads of the block call
  __device__ KeyTileWalk(const DeviceRuns& runs, const KeyInterval* visible_to_queries, int count)
      : num_runs_(runs.num_runs) {
    __shared__ SeenInRun shared[TokenRuns::kMaxRuns];
    seen_ = shared;
    if (threadIdx.x < static_cast<unsigned>(runs.num_runs)) {
      const TokenRun& run = runs.runs[threadIdx.x];
      const KeyInterval low = visible_to_queries[0], high = visible_to_queries[count - 1];
      const KeyInterval some = clip_to_run({low.begin, high.end}, run), all = clip_to_run({high.begin, low.end}, run);
      const auto local = [&run](std::int64_t index) { return static_cast<int>(run.local_first + index); };
      shared[threadIdx.x] = {local(some.begin), local(some.end), local(all.begin), local(all.end)};
    }
    __syncthreads();
  }

  /// From one tile to the next; false behind the last one. The first comes after a KeyTile{}.
  __device__ bool next(KeyTile& tile) const {
    tile.first += kKeys;
    while (tile.first >= tile.end) {
      if (++tile.run >= num_runs_) return false;
      tile.first = seen_[tile.run].begin;
      tile.end = seen_[tile.run].end;
    }
    tile.all_see = seen_[tile.run].all_begin <= tile.first && tile.first + kKeys <= seen_[tile.run].all_end;
    return true;
  }

 private:
  const SeenInRun* seen_;
  int num_runs_;
};

/// Local queries [some_begin, some_end) see some key of a tile, [all_begin, all_end) see all of them.
struct QueryRange {
  int some_begin, some_end, all_begin, all_end;
};

/// Four threads search one border each. @pre all threads of the block call; keys is not empty
__device__ inline QueryRange queries_of(const KeyPositions& keys, const KeyInterval* visible, int num_queries) {
  __shared__ int borders[4];
  if (threadIdx.x < 4) {
    // 0: first query whose end is behind the first key    1: first whose begin is behind the last key
    // 2: first whose end is behind the last key           3: first whose begin is behind the first key
    const bool of_end = threadIdx.x % 2 == 0;
    const std::int64_t position = threadIdx.x % 3 == 0 ? keys.first : keys.last;
    int low = 0, high = num_queries;
    while (low < high) {
      const int middle = low + (high - low) / 2;
      if ((of_end ? visible[middle].end : visible[middle].begin) > position) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    borders[threadIdx.x] = low;
  }
  __syncthreads();
  return {.some_begin = borders[0], .some_end = borders[1], .all_begin = borders[2], .all_end = borders[3]};
}

}  // namespace rondo::cuda

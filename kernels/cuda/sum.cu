// SPDX-License-Identifier: Apache-2.0
// Fixed-order sums, bit for bit those of the reference: every chunk of kSumChunk elements is added up in its order by one
// thread, and the chunks in theirs by one thread. A warp brings the elements of its 32 chunks through shared memory, so
// that memory is still read in whole lines; the next tile is on its way while one is added up.
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/operations.hpp"
#include "kernels/cuda/packs.cuh"

namespace rondo::cuda {

namespace {

constexpr int kWarps = 4;
constexpr int kTile = 32;  // chunks of a warp, and elements of each that are in shared memory at a time
constexpr int kFoldThreads = 256;
constexpr std::int64_t kRoundChunks = kSumWorkspace - 1;

/// What is read: `count` elements, in chunks.
template <typename T> struct Summands {
  const T* x;
  std::int64_t count;
  SumArgs::Power power;
  bool wide;
};

template <typename T>
__global__ void chunk_sums_kernel(const Summands<T> summands, double* chunk_sums, std::int64_t num_chunks) {
  constexpr int kPack = kPackOf<T>, kPacksOfRow = kTile / kPack, kLoads = kTile / kPack;  // a warp loads a row's packs
  __shared__ T tiles[kWarps][kTile][kTile + 1];
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const std::int64_t first_chunk = (std::int64_t{blockIdx.x} * kWarps + warp) * kTile;
  if (first_chunk >= num_chunks) return;  // with its whole warp; warps do not meet
  auto& tile = tiles[warp];
  Pack<T, kPack> ahead[kLoads];
  const auto row_of = [&](int i) { return (i * 32 + lane) / kPacksOfRow; };
  const auto column_of = [&](int i) { return (i * 32 + lane) % kPacksOfRow * kPack; };
  const auto fetch = [&](int column) {
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      const std::int64_t at = (first_chunk + row_of(i)) * kSumChunk + column + column_of(i);
      ahead[i] = load_pack<kPack>(summands.x + at, summands.count - at, summands.wide);
    }
  };
  double sum = 0;
  fetch(0);
  for (int column = 0; column < kSumChunk; column += kTile) {
    __syncwarp();  // the tile before has been added up
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
#pragma unroll
      for (int j = 0; j < kPack; ++j) tile[row_of(i)][column_of(i) + j] = ahead[i].values[j];
    }
    __syncwarp();
    if (column + kTile < kSumChunk) fetch(column + kTile);
      // Behind the last element there are zeros, which change no sum. Nothing is fused: the bits are promised.
#pragma unroll
    for (int j = 0; j < kTile; ++j) {
      const auto value = static_cast<double>(tile[lane][j]);
      sum = __dadd_rn(sum, summands.power == SumArgs::Power::Two ? __dmul_rn(value, value) : value);
    }
  }
  if (first_chunk + lane < num_chunks) chunk_sums[first_chunk + lane] = sum;
}

/// One block: *total += the sums of the chunks, in order. The first round starts from 0, the last one adds to *result.
__global__ void fold_kernel(const double* chunk_sums, std::int64_t num_chunks, double* total, bool is_first,
                            bool is_last, double* result) {
  __shared__ double staged[kFoldThreads];
  double sum = is_first ? 0 : *total;
  for (std::int64_t first = 0; first < num_chunks; first += kFoldThreads) {
    const std::int64_t rest = num_chunks - first, mine = static_cast<int>(threadIdx.x);
    __syncthreads();  // what was staged before has been added up
    if (mine < rest) staged[mine] = chunk_sums[first + mine];
    __syncthreads();
    if (mine == 0) {
      for (int i = 0; i < (rest < kFoldThreads ? static_cast<int>(rest) : kFoldThreads); ++i) {
        sum = __dadd_rn(sum, staged[i]);
      }
    }
  }
  if (threadIdx.x != 0) return;
  if (is_last) {
    *result = __dadd_rn(*result, sum);
  } else {
    *total = sum;
  }
}

template <typename T> void sum_of(Stream& stream, const SumArgs& args, double* workspace) {
  const T* x = args.x.as<T>();
  const std::int64_t count = args.x.count();
  double* total = workspace + kRoundChunks;
  for (std::int64_t first = 0; first < count; first += kRoundChunks * kSumChunk) {
    const std::int64_t rest = count - first, chunks_left = (rest + kSumChunk - 1) / kSumChunk;
    const std::int64_t chunks = chunks_left < kRoundChunks ? chunks_left : kRoundChunks;
    const Summands<T> summands{.x = x + first, .count = rest, .power = args.power, .wide = are_aligned(x)};
    launch(chunk_sums_kernel<T>, stream,
           {.blocks = (chunks + kWarps * kTile - 1) / (kWarps * kTile), .threads = kWarps * 32}, summands, workspace,
           chunks);
    launch(fold_kernel, stream, {.blocks = 1, .threads = kFoldThreads}, workspace, chunks, total, first == 0,
           chunks == chunks_left, args.result);
  }
}

}  // namespace

void sum(Stream& stream, const SumArgs& args, double* workspace) {
  rondo::check(args);
  if (args.x.dtype == DType::Fp64) return sum_of<double>(stream, args, workspace);
  sum_of<float>(stream, args, workspace);
}

}  // namespace rondo::cuda

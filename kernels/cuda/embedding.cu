// SPDX-License-Identifier: Apache-2.0
// Rows of the table by token. Backward adds in the order of t without atomics and without scratch: each block owns some
// rows of the table and some of their columns, walks all tokens, lists those of its rows in order, and adds their
// gradients. The walk reads 4 bytes per token from the cache, little beside the gradients themselves.
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/operations.hpp"
#include "kernels/cuda/packs.cuh"
#include "kernels/dispatch.hpp"

namespace rondo::cuda {

namespace {

constexpr int kColumnThreads = 128;  // of a backward block: as many packs of columns
constexpr int kWalked = 8;           // tokens that each thread looks at in one stride of the walk
constexpr int kStride = kColumnThreads * kWalked;
constexpr int kListed = 4 * kStride;    // tokens on the list before their gradients are added
constexpr std::int64_t kBlocks = 2048;  // of the grid, about

/// A token outside of the table gives a row of NaN: the host cannot be told from here, and the check for non-finite
/// losses ends the run.
template <typename E>
__global__ void embedding_forward_kernel(const std::int32_t* tokens, const E* table, E* out, const RowGrid grid,
                                         std::int64_t vocabulary, std::int64_t dim, bool wide) {
  constexpr int kPack = kPackOf<E>;
  const std::int64_t t = grid.row(), first = grid.pack() * kPack;
  if (t >= grid.rows || first >= dim) return;
  const std::int64_t token = tokens[t];
  Pack<E, kPack> row;
  if (token >= 0 && token < vocabulary) {
    row = load_pack<kPack>(table + token * dim + first, dim - first, wide);
  } else {
#pragma unroll
    for (int i = 0; i < kPack; ++i) row.values[i] = store<E>(nanf(""));
  }
  store_pack(out + t * dim + first, row, dim - first, wide);
}

template <typename E, typename Sum> struct BackwardTensors {
  const std::int32_t* tokens;
  const E* d_out;
  Sum* d_table;
  std::int64_t num_tokens, vocabulary, dim;
  std::int64_t buckets;   // a power of two: a block owns the rows that are equal to its bucket modulo it
  bool wide, is_aligned;  // columns, tokens
};

/// Numbers the matches of the block in the order of the tokens. @returns how many, in all threads; `position` is that of
/// this thread's first match
__device__ int count_matches(int matches, int* position, int* warp_totals) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  int up_to_here = matches;
  for (int distance = 1; distance < 32; distance *= 2) {
    const int before = __shfl_up_sync(0xffffffffU, up_to_here, static_cast<unsigned>(distance));
    if (lane >= distance) up_to_here += before;
  }
  if (lane == 31) warp_totals[warp] = up_to_here;
  __syncthreads();
  int total = 0;
  *position = up_to_here - matches;
  for (int i = 0; i < kColumnThreads / 32; ++i) {
    if (i < warp) *position += warp_totals[i];
    total += warp_totals[i];
  }
  return total;
}

/// d_table[tokens[t]] += d_out[t] for the tokens on the list, in its order; each thread has a pack of columns. The sum of
/// a row stays in registers while the same row comes again.
template <typename E, typename Sum>
__device__ void add_listed(const BackwardTensors<E, Sum>& tensors, const std::int64_t* list, int count,
                           std::int64_t first) {
  constexpr int kPack = kPackOf<E>, kAhead = 4;  // gradients that are on their way together
  if (first >= tensors.dim) return;
  const std::int64_t rest = tensors.dim - first;
  std::int64_t row = -1;
  Pack<Sum, kPack> sum = load_pack<kPack>(tensors.d_table, 0, false);
  for (int begin = 0; begin < count; begin += kAhead) {
    Pack<E, kPack> gradients[kAhead];
    std::int64_t rows[kAhead] = {};
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      if (begin + i >= count) continue;
      const std::int64_t t = list[begin + i];
      rows[i] = tensors.tokens[t];
      gradients[i] = load_pack<kPack>(tensors.d_out + t * tensors.dim + first, rest, tensors.wide);
    }
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      if (begin + i >= count) continue;
      if (rows[i] != row) {
        if (row >= 0) store_pack(tensors.d_table + row * tensors.dim + first, sum, rest, tensors.wide);
        row = rows[i];
        sum = load_pack<kPack>(tensors.d_table + row * tensors.dim + first, rest, tensors.wide);
      }
#pragma unroll
      for (int j = 0; j < kPack; ++j) sum.values[j] += load(gradients[i].values[j]);
    }
  }
  if (row >= 0) store_pack(tensors.d_table + row * tensors.dim + first, sum, rest, tensors.wide);
}

template <typename E, typename Sum> __global__ void embedding_backward_kernel(const BackwardTensors<E, Sum> tensors) {
  __shared__ std::int64_t list[kListed];
  __shared__ int warp_totals[kColumnThreads / 32];
  const std::int64_t bucket = blockIdx.x % tensors.buckets, tile = blockIdx.x / tensors.buckets;
  const std::int64_t first_column = (tile * kColumnThreads + threadIdx.x) * kPackOf<E>;
  int listed = 0;
  for (std::int64_t stride = 0; stride < tensors.num_tokens; stride += kStride) {
    if (listed + kStride > kListed) {
      add_listed(tensors, list, listed, first_column);
      listed = 0;
      __syncthreads();  // the list has been read
    }
    const std::int64_t mine = stride + std::int64_t{threadIdx.x} * kWalked;
    const auto tokens = load_pack<kWalked>(tensors.tokens + mine, tensors.num_tokens - mine, tensors.is_aligned);
    unsigned matches = 0;
#pragma unroll
    for (int i = 0; i < kWalked; ++i) {
      const std::int64_t token = mine + i < tensors.num_tokens ? tokens.values[i] : -1;
      const bool is_mine = token >= 0 && token < tensors.vocabulary && (token & (tensors.buckets - 1)) == bucket;
      matches |= is_mine ? 1U << i : 0U;
    }
    int position = 0;
    const int found = count_matches(__popc(matches), &position, warp_totals);
#pragma unroll
    for (int i = 0; i < kWalked; ++i) {
      if ((matches >> i & 1U) != 0) list[listed + position++] = mine + i;
    }
    listed += found;
    __syncthreads();  // the list is complete; the totals have been read
  }
  add_listed(tensors, list, listed, first_column);
}

}  // namespace

void embedding_forward(Stream& stream, const EmbeddingForwardArgs& args) {
  rondo::check(args);
  const std::int64_t tokens = args.out.shape[0], vocabulary = args.table.shape[0], dim = args.table.shape[1];
  with_storage_type(args.table.dtype, [&]<typename T>() {
    using E = Element<T>;
    const auto* table = elements<T>(args.table);
    auto* out = elements<T>(args.out);
    const auto grid = RowGrid::of(tokens, dim, kPackOf<E>);
    launch(embedding_forward_kernel<E>, stream, grid.launch_shape(), args.tokens.as<std::int32_t>(), table, out, grid,
           vocabulary, dim, moves_whole_packs<E>(dim, table, out));
  });
}

void embedding_backward(Stream& stream, const EmbeddingBackwardArgs& args) {
  rondo::check(args);
  const std::int64_t vocabulary = args.d_table.shape[0], dim = args.d_table.shape[1];
  with_storage_type(args.d_out.dtype, [&]<typename T>() {
    using E = Element<T>;
    using Sum = Accumulator<T>;
    const auto* tokens = args.tokens.as<std::int32_t>();
    const auto* d_out = elements<T>(args.d_out);
    auto* d_table = args.d_table.as<Sum>();
    const std::int64_t columns_of_block = kColumnThreads * kPackOf<E>;
    const std::int64_t tiles = (dim + columns_of_block - 1) / columns_of_block;
    std::int64_t buckets = 1;  // how rows are shared out changes no sum
    while (buckets < vocabulary && buckets * tiles < kBlocks) buckets *= 2;
    const BackwardTensors<E, Sum> tensors{.tokens = tokens,
                                          .d_out = d_out,
                                          .d_table = d_table,
                                          .num_tokens = args.tokens.shape[0],
                                          .vocabulary = vocabulary,
                                          .dim = dim,
                                          .buckets = buckets,
                                          .wide = moves_whole_packs<E>(dim, d_out, d_table),
                                          .is_aligned = are_aligned(tokens)};
    launch(embedding_backward_kernel<E, Sum>, stream, {.blocks = buckets * tiles, .threads = kColumnThreads}, tensors);
  });
}

}  // namespace rondo::cuda

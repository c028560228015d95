// SPDX-License-Identifier: Apache-2.0
// RMSNorm, each row read once. The gradient of the weight is summed over fixed chunks of tokens by those who have the rows
// in their registers, then over the chunks in order: no atomics, and a chunk depends on the number of tokens only.
#include <algorithm>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/operations.hpp"
#include "kernels/cuda/rows.cuh"
#include "kernels/dispatch.hpp"

namespace rondo::cuda {

namespace {

constexpr int kFoldColumns = 32, kFoldSlices = 8;

template <typename E, typename Sum> struct NormShape {
  const E* x;
  const E* weight;
  std::int64_t tokens, dim;
  Sum epsilon;
  bool wide;
};

template <int kRowThreads, typename E, typename Sum>
__global__ void forward_kernel(const NormShape<E, Sum> norm, E* y) {
  constexpr int kPack = kPackOf<E>;
  __shared__ Sum shared[kRowBlock / 32];
  const std::int64_t t = row_group<kRowThreads>(), dim = norm.dim;
  if (t >= norm.tokens) return;
  Pack<E, kPack> kept[kRegisterPacks];
  Sum squares = 0;
  for_packs_of_row<kRowThreads, kPack>(dim, [&](std::int64_t c, int j) {
    const Pack<E, kPack> x = load_pack<kPack>(norm.x + t * dim + c, dim - c, norm.wide);
#pragma unroll
    for (int i = 0; i < kPack; ++i) squares += load(x.values[i]) * load(x.values[i]);
    if (j < kRegisterPacks) kept[j] = x;
  });
  // r = 1 / sqrt(mean(x^2) + epsilon),  y = x r w
  const Sum mean = row_reduce<kRowThreads>(squares, shared, Add{}) / static_cast<Sum>(dim);
  const Sum r = 1 / sqrt(mean + norm.epsilon);
  for_packs_of_row<kRowThreads, kPack>(dim, [&](std::int64_t c, int j) {
    const Pack<E, kPack> x = j < kRegisterPacks ? kept[j] : load_pack<kPack>(norm.x + t * dim + c, dim - c, norm.wide);
    const Pack<E, kPack> weight = load_pack<kPack>(norm.weight + c, dim - c, norm.wide);
    Pack<E, kPack> result;
#pragma unroll
    for (int i = 0; i < kPack; ++i) result.values[i] = store<E>(load(x.values[i]) * r * load(weight.values[i]));
    store_pack(y + t * dim + c, result, dim - c, norm.wide);
  });
}

/// Each group of threads has one chunk of tokens: d_x of every row, and the row's part of the chunk's weight gradient.
template <int kRowThreads, typename E, typename Sum>
__global__ void backward_kernel(const NormShape<E, Sum> norm, const E* d_y, E* d_x, Sum* chunk_d_weights,
                                std::int64_t chunk_tokens) {
  constexpr int kPack = kPackOf<E>;
  __shared__ Sum shared[kRowBlock / 32];
  const std::int64_t chunk = row_group<kRowThreads>(), first_token = chunk * chunk_tokens, dim = norm.dim;
  if (first_token >= norm.tokens) return;
  const std::int64_t end = first_token + chunk_tokens < norm.tokens ? first_token + chunk_tokens : norm.tokens;
  Sum* d_weights = chunk_d_weights + chunk * dim;
  Pack<Sum, kPack> sums[kRegisterPacks];
  Pack<E, kPack> kept_x[kRegisterPacks], kept_d_y[kRegisterPacks];
  for_packs_of_row<kRowThreads, kPack>(dim, [&](std::int64_t c, int j) {
    const Pack<Sum, kPack> zeros = load_pack<kPack>(d_weights, 0, false);
    if (j < kRegisterPacks) {
      sums[j] = zeros;
    } else {
      store_pack(d_weights + c, zeros, dim - c, norm.wide);
    }
  });
  for (std::int64_t t = first_token; t < end; ++t) {
    const E* x_row = norm.x + t * dim;
    const E* d_y_row = d_y + t * dim;
    Sum squares = 0, g_dot_x = 0;
    for_packs_of_row<kRowThreads, kPack>(dim, [&](std::int64_t c, int j) {
      const Pack<E, kPack> x = load_pack<kPack>(x_row + c, dim - c, norm.wide);
      const Pack<E, kPack> gradient = load_pack<kPack>(d_y_row + c, dim - c, norm.wide);
      const Pack<E, kPack> weight = load_pack<kPack>(norm.weight + c, dim - c, norm.wide);
#pragma unroll
      for (int i = 0; i < kPack; ++i) {
        squares += load(x.values[i]) * load(x.values[i]);
        g_dot_x += load(gradient.values[i]) * load(weight.values[i]) * load(x.values[i]);
      }
      if (j < kRegisterPacks) {
        kept_x[j] = x;
        kept_d_y[j] = gradient;
      }
    });
    // With r = 1 / sqrt(mean(x^2) + epsilon) and g = d_y w:  d_x += r g - x r^3 (g . x) / C,  d_w += d_y x r
    const auto size = static_cast<Sum>(dim);
    const Sum r = 1 / sqrt(row_reduce<kRowThreads>(squares, shared, Add{}) / size + norm.epsilon);
    const Sum along_x = r * r * r * row_reduce<kRowThreads>(g_dot_x, shared, Add{}) / size;
    for_packs_of_row<kRowThreads, kPack>(dim, [&](std::int64_t c, int j) {
      const bool is_kept = j < kRegisterPacks;
      const Pack<E, kPack> x = is_kept ? kept_x[j] : load_pack<kPack>(x_row + c, dim - c, norm.wide);
      const Pack<E, kPack> gradient = is_kept ? kept_d_y[j] : load_pack<kPack>(d_y_row + c, dim - c, norm.wide);
      const Pack<E, kPack> weight = load_pack<kPack>(norm.weight + c, dim - c, norm.wide);
      Pack<E, kPack> result = load_pack<kPack>(d_x + t * dim + c, dim - c, norm.wide);
      Pack<Sum, kPack> sum = is_kept ? sums[j] : load_pack<kPack>(d_weights + c, dim - c, norm.wide);
#pragma unroll
      for (int i = 0; i < kPack; ++i) {
        const Sum xc = load(x.values[i]), d_yc = load(gradient.values[i]);
        result.values[i] = store<E>(load(result.values[i]) + (r * d_yc * load(weight.values[i]) - xc * along_x));
        sum.values[i] += d_yc * xc * r;
      }
      store_pack(d_x + t * dim + c, result, dim - c, norm.wide);
      if (is_kept) {
        sums[j] = sum;
      } else {
        store_pack(d_weights + c, sum, dim - c, norm.wide);
      }
    });
  }
  for_packs_of_row<kRowThreads, kPack>(dim, [&](std::int64_t c, int j) {
    if (j < kRegisterPacks) store_pack(d_weights + c, sums[j], dim - c, norm.wide);
  });
}

/// d_w[c] += the chunks' gradients, in order: each slice of threads has consecutive chunks, then the slices are added.
template <typename Sum>
__global__ void fold_chunks_kernel(const Sum* chunk_d_weights, std::int64_t num_chunks, Sum* d_weight,
                                   std::int64_t dim) {
  __shared__ Sum slices[kFoldSlices][kFoldColumns];
  const int column = static_cast<int>(threadIdx.x) % kFoldColumns, slice = static_cast<int>(threadIdx.x) / kFoldColumns;
  const std::int64_t c = std::int64_t{blockIdx.x} * kFoldColumns + column;
  const std::int64_t chunks_of_slice = (num_chunks + kFoldSlices - 1) / kFoldSlices, first = slice * chunks_of_slice;
  const std::int64_t end = first + chunks_of_slice < num_chunks ? first + chunks_of_slice : num_chunks;
  Sum sum = 0;
  if (c < dim) {
#pragma unroll 8
    for (std::int64_t chunk = first; chunk < end; ++chunk) sum += chunk_d_weights[chunk * dim + c];
  }
  slices[slice][column] = sum;
  __syncthreads();
  if (slice != 0 || c >= dim) return;
  for (int i = 1; i < kFoldSlices; ++i) sum += slices[i][column];
  d_weight[c] += sum;
}

template <int kRowThreads, typename E, typename Sum>
void launch_backward(Stream& stream, const NormShape<E, Sum>& norm, const E* d_y, E* d_x, Sum* d_weight,
                     Arena& scratch) {
  // At most so many chunks that all are on the GPU at once, and so many tokens that their sums are little memory.
  constexpr std::int64_t kMostChunks = 1024 * (kRowThreads == 32 ? 4 : 1), kFewestTokens = 8;
  const std::int64_t chunk_tokens = std::max(kFewestTokens, (norm.tokens + kMostChunks - 1) / kMostChunks);
  const std::int64_t num_chunks = (norm.tokens + chunk_tokens - 1) / chunk_tokens;
  Arena::Scope scope(scratch);
  Sum* chunk_d_weights = scratch.take(dtype_of<Sum>, {num_chunks, norm.dim}).template as<Sum>();
  launch(backward_kernel<kRowThreads, E, Sum>, stream, launch_shape_of_rows<kRowThreads>(num_chunks), norm, d_y, d_x,
         chunk_d_weights, chunk_tokens);
  launch(fold_chunks_kernel<Sum>, stream,
         {.blocks = (norm.dim + kFoldColumns - 1) / kFoldColumns, .threads = kFoldColumns * kFoldSlices},
         chunk_d_weights, num_chunks, d_weight, norm.dim);
}

}  // namespace

void rms_norm_forward(Stream& stream, const RmsNormForwardArgs& args) {
  rondo::check(args);
  const std::int64_t tokens = args.x.shape[0], dim = args.x.shape[1];
  with_storage_type(args.x.dtype, [&]<typename T>() {
    using E = Element<T>;
    using Sum = Accumulator<T>;
    auto* y = elements<T>(args.y);
    const NormShape<E, Sum> norm{.x = elements<T>(args.x),
                                 .weight = elements<T>(args.weight),
                                 .tokens = tokens,
                                 .dim = dim,
                                 .epsilon = static_cast<Sum>(args.epsilon),
                                 .wide = moves_whole_packs<E>(dim, elements<T>(args.x), elements<T>(args.weight), y)};
    if (threads_of_row<E>(dim) == 32) {
      launch(forward_kernel<32, E, Sum>, stream, launch_shape_of_rows<32>(tokens), norm, y);
    } else {
      launch(forward_kernel<kRowBlock, E, Sum>, stream, launch_shape_of_rows<kRowBlock>(tokens), norm, y);
    }
  });
}

void rms_norm_backward(Stream& stream, const RmsNormBackwardArgs& args) {
  rondo::check(args);
  const std::int64_t tokens = args.x.shape[0], dim = args.x.shape[1];
  if (tokens == 0) return;
  with_storage_type(args.x.dtype, [&]<typename T>() {
    using E = Element<T>;
    using Sum = Accumulator<T>;
    const auto* d_y = elements<T>(args.d_y);
    auto* d_x = elements<T>(args.d_x);
    auto* d_weight = args.d_weight.as<Sum>();
    const NormShape<E, Sum> norm{
        .x = elements<T>(args.x),
        .weight = elements<T>(args.weight),
        .tokens = tokens,
        .dim = dim,
        .epsilon = static_cast<Sum>(args.epsilon),
        .wide = moves_whole_packs<E>(dim, elements<T>(args.x), elements<T>(args.weight), d_y, d_x)};
    if (threads_of_row<E>(dim) == 32) {
      launch_backward<32, E, Sum>(stream, norm, d_y, d_x, d_weight, args.scratch);
    } else {
      launch_backward<kRowBlock, E, Sum>(stream, norm, d_y, d_x, d_weight, args.scratch);
    }
  });
}

}  // namespace rondo::cuda

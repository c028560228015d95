// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/memory_states.cuh"
#include "kernels/cuda/tile_product.cuh"

namespace rondo::cuda {

namespace {

template <typename E, typename Sum>
__global__ void weights_kernel(const MemoryTensors<E, Sum> memory, WriteWeight<Sum>* weights) {
  const std::int64_t row = row_of_warp();
  const int group = static_cast<int>(row % memory.kv_heads), dim = memory.dim;
  const std::int64_t written = row / memory.kv_heads, step_index = written / memory.segment_tokens;
  if (step_index >= memory.num_steps) return;
  const DeviceStep step = memory.steps[step_index];
  if (!step.writes()) return;
  const E* k = memory.k + memory.key_row(step.first_key + written % memory.segment_tokens, group);
  const auto product_with = [&](const double* vectors) {
    const double* vector = vectors + memory.vector_row(step_index, group);
    return sum_over_dims<Sum>(dim, [&](int d) { return feature(load(k[d])) * static_cast<Sum>(vector[d]); });
  };
  const Sum c = product_with(memory.z);
  const RetrievalWeight<Sum> w(c, memory.rule == MemoryRule::DeltaCorrected ? product_with(memory.segment) : Sum{0});
  if (lane() == 0) weights[row] = w.is_overlap ? WriteWeight<Sum>{w.value, 0} : WriteWeight<Sum>{0, w.value};
}

/// One product a step and head, over the tokens of the segment that is written.
template <bool kIsDecay, typename E, typename Sum>
__global__ void __launch_bounds__(kProductThreads)
    written_kernel(const MemoryTensors<E, Sum> memory, const WriteWeight<Sum>* weights, Sum* to,
                   const ProductGrid grid) {
  __shared__ ProductStage<Sum> stage;
  const ProductTile tile(grid);
  const DeviceStep step = memory.steps[tile.step];
  if (!step.writes()) return;
  const int dim = memory.dim, tokens = memory.segment_tokens;
  const auto row_of = [&](const E* tensor, int token) {
    return token < tokens ? tensor + memory.key_row(step.first_key + token, tile.head) : nullptr;
  };
  const auto phi = [&](int token, int d) { return load_features<Sum>(row_of(memory.k, token), d, dim, memory.wide); };
  const auto left = [&](int token, int row) { return phi(token, tile.first_row + row); };
  const auto right = [&](int token, int column) {
    const int d = tile.first_column + column;
    if constexpr (kIsDecay) {
      const Sum w = token < tokens ? weights[memory.written(tile.step, token, tile.head)].value() : Sum{0};
      return scaled(w, phi(token, d));
    } else {
      return load_row<Sum>(row_of(memory.v, token), d, dim, memory.wide);
    }
  };
  ProductSums<Sum> sums(dim - tile.first_row, dim - tile.first_column);
  add_product<Along::Width, Along::Width>(sums, stage, tokens, left, right);
  Sum* matrix = to + memory.matrix(tile.step, tile.head);
  sums.for_each_row([&](int row, int column, const ProductPack<Sum>& x) {
    const int d = tile.first_column + column;
    store_pack(matrix + (tile.first_row + row) * dim + d, x, dim - d, memory.wide);
  });
}

template <bool kIsDecay, typename E, typename Sum>
void launch_written(Stream& stream, const MemoryTensors<E, Sum>& memory, const WriteWeight<Sum>* weights, Sum* to) {
  const ProductGrid grid{
      .steps = memory.num_steps, .heads = memory.kv_heads, .rows = memory.dim, .columns = memory.dim};
  launch(written_kernel<kIsDecay, E, Sum>, stream, grid.launch_shape(), memory, weights, to, grid);
}

// --- the chain ---

// A block of threads has a few columns of one head's state, in fp64 in its registers: two threads share a row.
constexpr int kSlice = 8, kColumns = 4, kStateThreads = 256;
constexpr int kThreadsOfRow = kSlice / kColumns, kRowsAtOnce = kStateThreads / kThreadsOfRow;

/// (P state)[row] in the columns of this thread; P is symmetric, so neighbouring rows are read from neighbouring addresses.
/// Every 16 terms are a sum of their own.
template <typename Sum> __device__ Pack<Sum, kColumns> decayed(const Sum* decay, const Sum* met, int row, int dim) {
  Pack<Sum, kColumns> sums{};
  for (int first = 0; first < dim; first += 16) {
    Pack<Sum, kColumns> part{};
#pragma unroll
    for (int j = first; j < first + 16; ++j) {
      if (j >= dim) break;
      const Sum factor = decay[j * dim + row];
      const Pack<Sum, kColumns> state = load_pack<kColumns>(met + j * kSlice, kColumns, true);
#pragma unroll
      for (int c = 0; c < kColumns; ++c) part.values[c] += factor * state.values[c];
    }
#pragma unroll
    for (int c = 0; c < kColumns; ++c) sums.values[c] += part.values[c];
  }
  return sums;
}

template <int kRows, typename Sum>
__global__ void __launch_bounds__(kStateThreads) chain_kernel(const StateChain<Sum> chain) {
  Sum* met_of_block = dynamic_shared<Sum>();  // [D, kSlice]
  const int dim = chain.dim, slices = (dim + kSlice - 1) / kSlice;
  const int group = static_cast<int>(blockIdx.x) / slices;
  const int first_of_slice = static_cast<int>(threadIdx.x) % kThreadsOfRow * kColumns;
  const int column = static_cast<int>(blockIdx.x) % slices * kSlice + first_of_slice;
  Sum* met = met_of_block + first_of_slice;
  const auto row_of = [&](int r) { return static_cast<int>(threadIdx.x) / kThreadsOfRow + r * kRowsAtOnce; };
  const auto is_inside = [&](int r, int c) { return row_of(r) < dim && column + c < dim; };
  double* matrix = chain.state + std::int64_t{group} * dim * dim;
  double state[kRows][kColumns];
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
#pragma unroll
    for (int c = 0; c < kColumns; ++c) state[r][c] = is_inside(r, c) ? matrix[row_of(r) * dim + column + c] : 0;
  }
  const auto reset = [&] {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
#pragma unroll
      for (int c = 0; c < kColumns; ++c) state[r][c] = chain.is_decay && row_of(r) == column + c ? 1 : 0;
    }
  };
  for (std::int64_t i = 0; i < chain.num_steps; ++i) {
    const std::int64_t s = chain.is_backward ? chain.num_steps - 1 - i : i;
    const DeviceStep step = chain.steps[s];
    const bool adds = chain.is_backward ? step.num_queries > 0 : step.writes();
    const bool decays = chain.decays != nullptr && step.writes();
    if (step.is_reset && !chain.is_backward) reset();
    const std::int64_t of_step = (s * chain.kv_heads + group) * dim * dim;
    Sum added[kRows][kColumns];
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
        const std::int64_t at = of_step + row_of(r) * dim + column + c;
        added[r][c] = adds && is_inside(r, c) ? chain.added[at] : Sum{0};
        const auto narrow = static_cast<Sum>(state[r][c]);
        if (chain.met != nullptr && is_inside(r, c)) chain.met[at] = narrow;
        if (decays && row_of(r) < dim) met[row_of(r) * kSlice + c] = narrow;
      }
    }
    if (decays) __syncthreads();
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      Pack<Sum, kColumns> lost{};
      if (decays && row_of(r) < dim) lost = decayed(chain.decays + of_step, met, row_of(r), dim);
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
        state[r][c] += static_cast<double>(added[r][c]) - static_cast<double>(lost.values[c]);
      }
    }
    if (decays) __syncthreads();  // all have read what this step met
    if (step.is_reset && chain.is_backward) reset();
  }
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      if (is_inside(r, c)) matrix[row_of(r) * dim + column + c] = state[r][c];
    }
  }
}

}  // namespace

template <typename E, typename Sum>
void find_weights(Stream& stream, const MemoryTensors<E, Sum>& memory, WriteWeight<Sum>* weights) {
  launch(weights_kernel<E, Sum>, stream, shape_of_warps(memory.num_written() * memory.kv_heads), memory, weights);
}

template <typename E, typename Sum> void find_added(Stream& stream, const MemoryTensors<E, Sum>& memory, Sum* added) {
  launch_written<false, E, Sum>(stream, memory, nullptr, added);
}

template <typename E, typename Sum>
void find_decays(Stream& stream, const MemoryTensors<E, Sum>& memory, const WriteWeight<Sum>* weights, Sum* decays) {
  launch_written<true, E, Sum>(stream, memory, weights, decays);
}

template <typename Sum> void run_chain(Stream& stream, const StateChain<Sum>& chain) {
  if (chain.num_steps == 0) return;
  ensure(chain.dim <= kMostMemoryDim, "a head of the memory has at most 512 dimensions on a GPU");
  const LaunchShape shape{.blocks = std::int64_t{chain.kv_heads} * ((chain.dim + kSlice - 1) / kSlice),
                          .threads = kStateThreads,
                          .shared_bytes = static_cast<std::size_t>(chain.dim) * kSlice * sizeof(Sum)};
  if (chain.dim <= kRowsAtOnce) return launch(chain_kernel<1, Sum>, stream, shape, chain);
  if (chain.dim <= 2 * kRowsAtOnce) return launch(chain_kernel<2, Sum>, stream, shape, chain);
  static_assert(kMostMemoryDim <= 4 * kRowsAtOnce);
  launch(chain_kernel<4, Sum>, stream, shape, chain);
}

#define RONDO_INSTANTIATE(E, Sum)                                                       \
  template void find_weights(Stream&, const MemoryTensors<E, Sum>&, WriteWeight<Sum>*); \
  template void find_added(Stream&, const MemoryTensors<E, Sum>&, Sum*);                \
  template void find_decays(Stream&, const MemoryTensors<E, Sum>&, const WriteWeight<Sum>*, Sum*);
RONDO_INSTANTIATE(double, double)
RONDO_INSTANTIATE(float, float)
RONDO_INSTANTIATE(__nv_bfloat16, float)
#undef RONDO_INSTANTIATE
template void run_chain(Stream&, const StateChain<double>&);
template void run_chain(Stream&, const StateChain<float>&);

}  // namespace rondo::cuda

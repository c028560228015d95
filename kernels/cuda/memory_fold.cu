// SPDX-License-Identifier: Apache-2.0
// What a run did to a state, applied in fp64 as on the host: D^3 a head, once a run of other ranks.
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/operations.hpp"

namespace rondo::cuda {

namespace {

constexpr int kSlice = 8;  // columns of a block of threads

/// state = state + added, or added alone.
template <typename Sum> __global__ void add_kernel(double* state, const Sum* added, std::int64_t count, bool is_reset) {
  const std::int64_t i = std::int64_t{blockIdx.x} * kBlockThreads + static_cast<int>(threadIdx.x);
  if (i < count) state[i] = (is_reset ? 0 : state[i]) + static_cast<double>(added[i]);
}

/// state = state - decay state + added in some columns of a head: what was there before is kept in shared memory.
template <typename Sum>
__global__ void decay_kernel(double* states, const Sum* decays, const Sum* added, int dim, bool is_transposed) {
  auto* before = dynamic_shared<double>();  // [D, kSlice]
  const int slices = (dim + kSlice - 1) / kSlice, first = static_cast<int>(blockIdx.x) % slices * kSlice;
  const std::int64_t matrix = static_cast<int>(blockIdx.x) / slices * std::int64_t{dim} * dim;
  const auto column_of = [&](int at) { return first + at % kSlice; };
  const auto element = [&](int at) { return matrix + at / kSlice * dim + column_of(at); };
  for (int at = static_cast<int>(threadIdx.x); at < dim * kSlice; at += kBlockThreads) {
    before[at] = column_of(at) < dim ? states[element(at)] : 0;
  }
  __syncthreads();
  for (int at = static_cast<int>(threadIdx.x); at < dim * kSlice; at += kBlockThreads) {
    if (column_of(at) >= dim) continue;
    const int row = at / kSlice;
    double state = before[at];
    for (int j = 0; j < dim; ++j) {
      const Sum decay = decays[matrix + (is_transposed ? j * dim + row : row * dim + j)];
      state -= static_cast<double>(decay) * before[j * kSlice + at % kSlice];
    }
    states[element(at)] = state + static_cast<double>(added[element(at)]);
  }
}

template <typename Sum> void fold(Stream& stream, const MemoryFoldArgs& args) {
  auto* state = args.state.as<double>();
  const Sum* added = args.added.as<Sum>();
  if (args.is_reset || !args.decay) {
    const std::int64_t count = args.state.count();
    launch(add_kernel<Sum>, stream, {.blocks = (count + kBlockThreads - 1) / kBlockThreads, .threads = kBlockThreads},
           state, added, count, args.is_reset);
    return;
  }
  const std::int64_t heads = args.state.shape[0], dim = args.state.shape[1];
  launch(decay_kernel<Sum>, stream,
         {.blocks = heads * ((dim + kSlice - 1) / kSlice),
          .threads = kBlockThreads,
          .shared_bytes = static_cast<std::size_t>(dim) * kSlice * sizeof(double)},
         state, args.decay.as<Sum>(), added, static_cast<int>(dim), args.is_transposed);
}

}  // namespace

void memory_fold(Stream& stream, const MemoryFoldArgs& args) {
  rondo::check(args);
  if (args.added.dtype == DType::Fp64) return fold<double>(stream, args);
  fold<float>(stream, args);
}

}  // namespace rondo::cuda

// SPDX-License-Identifier: Apache-2.0
// The gate between local attention and what was read. The gradient of a gate is summed over fixed chunks of tokens, then over the
// chunks in order, in fp64.
#include <algorithm>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/operations.hpp"
#include "kernels/cuda/packs.cuh"
#include "kernels/dispatch.hpp"

namespace rondo::cuda {

namespace {

constexpr int kGateWarps = 8, kGateThreads = 32 * kGateWarps;
constexpr std::int64_t kFewestTokens = 64;  // of a chunk

template <typename Sum> struct GateTensors {
  const Sum* local;       // [T, N, D]
  const Sum* read;        // [T, N, D]
  const Sum* normaliser;  // [N, T]
  const Sum* gate;        // [N]
  std::int64_t tokens, heads, dim;

  /// How much of the read goes into a row: 0 where nothing was read.
  __device__ Sum share_of(std::int64_t t, std::int64_t n) const {
    return normaliser[n * tokens + t] == 0 ? Sum{0} : 1 / (1 + exp(-gate[n]));
  }
};

template <typename Sum, typename Args> GateTensors<Sum> gate_tensors(const Args& args) {
  return {.local = args.local.template as<Sum>(),
          .read = args.read.out.template as<Sum>(),
          .normaliser = args.read.normaliser.template as<Sum>(),
          .gate = args.gate.template as<Sum>(),
          .tokens = args.local.shape[0],
          .heads = args.local.shape[1],
          .dim = args.local.shape[2]};
}

/// out = share read + (1 - share) local
template <typename E, typename Sum>
__global__ void gate_forward_kernel(const GateTensors<Sum> gate, E* out, const RowGrid grid, bool wide) {
  constexpr int kPack = kPackOf<Sum>;
  const std::int64_t row = grid.row(), first = grid.pack() * kPack, rest = gate.dim - first;
  if (row >= grid.rows || rest <= 0) return;
  const Sum share = gate.share_of(row / gate.heads, row % gate.heads);
  const std::int64_t at = row * gate.dim + first;
  const Pack<Sum, kPack> local = load_pack<kPack>(gate.local + at, rest, wide);
  const Pack<Sum, kPack> read = load_pack<kPack>(gate.read + at, rest, wide);
  Pack<E, kPack> mixed;
#pragma unroll
  for (int i = 0; i < kPack; ++i) {
    mixed.values[i] = store<E>(share * read.values[i] + (1 - share) * local.values[i]);
  }
  store_pack(out + at, mixed, rest, wide);
}

template <typename E, typename Sum> struct GateGradients {
  const E* d_out;    // [T, N, D]
  E* d_local;        // [T, N, D]
  Sum* d_read;       // [T, N, D]
  double* of_chunk;  // [chunks, N]
};

/// A block of threads has one head of a chunk of tokens, a warp every so manieth row of it.
template <typename E, typename Sum>
__global__ void gate_backward_kernel(const GateTensors<Sum> gate, const GateGradients<E, Sum> gradients,
                                     std::int64_t chunk_tokens) {
  __shared__ double of_warp[kGateWarps];
  const std::int64_t n = blockIdx.x % gate.heads, first = blockIdx.x / gate.heads * chunk_tokens;
  const std::int64_t end = first + chunk_tokens < gate.tokens ? first + chunk_tokens : gate.tokens;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  double d_gate = 0;
  for (std::int64_t t = first + warp; t < end; t += kGateWarps) {
    const Sum share = gate.share_of(t, n);
    const std::int64_t row = (t * gate.heads + n) * gate.dim;
    Sum d_share = 0;
    for (std::int64_t at = row + threadIdx.x % 32; at < row + gate.dim; at += 32) {
      const Sum gradient = load(gradients.d_out[at]);
      gradients.d_local[at] = store<E>((1 - share) * gradient);
      gradients.d_read[at] = share * gradient;
      d_share += gradient * (gate.read[at] - gate.local[at]);
    }
    d_gate += static_cast<double>(share * (1 - share) * warp_reduce(d_share, Add{}));
  }
  if (threadIdx.x % 32 == 0) of_warp[warp] = d_gate;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int other = 1; other < kGateWarps; ++other) d_gate += of_warp[other];
  gradients.of_chunk[blockIdx.x] = d_gate;
}

/// d_gate[n] += the sums of the chunks, in order.
template <typename Sum>
__global__ void fold_chunks_kernel(const double* of_chunk, std::int64_t num_chunks, Sum* d_gate, std::int64_t heads) {
  const std::int64_t n = std::int64_t{blockIdx.x} * kGateThreads + static_cast<int>(threadIdx.x);
  if (n >= heads) return;
  double sum = 0;
  for (std::int64_t chunk = 0; chunk < num_chunks; ++chunk) sum += of_chunk[chunk * heads + n];
  d_gate[n] += static_cast<Sum>(sum);
}

}  // namespace

void memory_gate_forward(Stream& stream, const MemoryGateForwardArgs& args) {
  rondo::check(args);
  with_storage_type(args.out.dtype, [&]<typename T>() {
    using E = Element<T>;
    using Sum = Accumulator<T>;
    const auto gate = gate_tensors<Sum>(args);
    E* out = elements<T>(args.out);
    const RowGrid grid = RowGrid::of(gate.tokens * gate.heads, gate.dim, kPackOf<Sum>);
    launch(gate_forward_kernel<E, Sum>, stream, grid.launch_shape(), gate, out, grid,
           moves_whole_packs<Sum>(gate.dim, gate.local, gate.read, out));
  });
}

void memory_gate_backward(Stream& stream, const MemoryGateBackwardArgs& args, double* workspace) {
  rondo::check(args);
  with_storage_type(args.d_out.dtype, [&]<typename T>() {
    using E = Element<T>;
    using Sum = Accumulator<T>;
    const auto gate = gate_tensors<Sum>(args);
    if (gate.tokens == 0) return;
    const GateGradients<E, Sum> gradients{.d_out = elements<T>(args.d_out),
                                          .d_local = elements<T>(args.d_local),
                                          .d_read = args.d_read.template as<Sum>(),
                                          .of_chunk = workspace};
    const std::int64_t most_chunks = std::max<std::int64_t>(1, 4096 / gate.heads);
    ensure(gate.heads * most_chunks <= kSumWorkspace, "the sums of the chunks fit in the workspace");
    const std::int64_t chunk_tokens = std::max(kFewestTokens, (gate.tokens + most_chunks - 1) / most_chunks);
    const std::int64_t num_chunks = (gate.tokens + chunk_tokens - 1) / chunk_tokens;
    launch(gate_backward_kernel<E, Sum>, stream, {.blocks = num_chunks * gate.heads, .threads = kGateThreads}, gate,
           gradients, chunk_tokens);
    launch(fold_chunks_kernel<Sum>, stream,
           {.blocks = (gate.heads + kGateThreads - 1) / kGateThreads, .threads = kGateThreads}, workspace, num_chunks,
           args.d_gate.template as<Sum>(), gate.heads);
  });
}

}  // namespace rondo::cuda

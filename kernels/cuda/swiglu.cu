// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/operations.hpp"
#include "kernels/cuda/packs.cuh"
#include "kernels/dispatch.hpp"

namespace rondo::cuda {

namespace {

/// 1 / (1 + exp(-x)); exp overflows to inf for very negative x, which gives 0 as it should.
template <typename Sum> __device__ Sum sigmoid(Sum x) { return 1 / (1 + exp(-x)); }

template <typename Sum, typename E>
__global__ void swiglu_forward_kernel(const E* gate_up, E* a, const RowGrid grid, std::int64_t dim, bool wide) {
  constexpr int kPack = kPackOf<E>;
  const std::int64_t t = grid.row(), first = grid.pack() * kPack;
  if (t >= grid.rows || first >= dim) return;
  const E* row = gate_up + t * 2 * dim + first;
  const Pack<E, kPack> gate = load_pack<kPack>(row, dim - first, wide);
  const Pack<E, kPack> up = load_pack<kPack>(row + dim, dim - first, wide);
  Pack<E, kPack> product;
  // a = gate sigmoid(gate) up
#pragma unroll
  for (int i = 0; i < kPack; ++i) {
    const Sum g = load(gate.values[i]);
    product.values[i] = store<E>(g * sigmoid(g) * load(up.values[i]));
  }
  store_pack(a + t * dim + first, product, dim - first, wide);
}

template <typename Sum, typename E>
__global__ void swiglu_backward_kernel(const E* gate_up, const E* d_a, E* d_gate_up, const RowGrid grid,
                                       std::int64_t dim, bool wide) {
  constexpr int kPack = kPackOf<E>;
  const std::int64_t t = grid.row(), first = grid.pack() * kPack;
  if (t >= grid.rows || first >= dim) return;
  const std::int64_t at = t * 2 * dim + first;
  const Pack<E, kPack> gate = load_pack<kPack>(gate_up + at, dim - first, wide);
  const Pack<E, kPack> up = load_pack<kPack>(gate_up + at + dim, dim - first, wide);
  const Pack<E, kPack> gradient = load_pack<kPack>(d_a + t * dim + first, dim - first, wide);
  Pack<E, kPack> d_gate, d_up;
  // With s = sigmoid(gate):  d_gate = d_a up s (1 + gate (1 - s)),  d_up = d_a gate s
#pragma unroll
  for (int i = 0; i < kPack; ++i) {
    const Sum g = load(gate.values[i]), u = load(up.values[i]), d = load(gradient.values[i]);
    const Sum s = sigmoid(g);
    d_gate.values[i] = store<E>(d * u * s * (1 + g * (1 - s)));
    d_up.values[i] = store<E>(d * g * s);
  }
  store_pack(d_gate_up + at, d_gate, dim - first, wide);
  store_pack(d_gate_up + at + dim, d_up, dim - first, wide);
}

}  // namespace

void swiglu_forward(Stream& stream, const SwigluForwardArgs& args) {
  rondo::check(args);
  const std::int64_t tokens = args.a.shape[0], dim = args.a.shape[1];
  with_storage_type(args.a.dtype, [&]<typename T>() {
    using E = Element<T>;
    const auto* gate_up = elements<T>(args.gate_up);
    auto* a = elements<T>(args.a);
    const auto grid = RowGrid::of(tokens, dim, kPackOf<E>);
    launch(swiglu_forward_kernel<Accumulator<T>, E>, stream, grid.launch_shape(), gate_up, a, grid, dim,
           moves_whole_packs<E>(dim, gate_up, a));
  });
}

void swiglu_backward(Stream& stream, const SwigluBackwardArgs& args) {
  rondo::check(args);
  const std::int64_t tokens = args.d_a.shape[0], dim = args.d_a.shape[1];
  with_storage_type(args.d_a.dtype, [&]<typename T>() {
    using E = Element<T>;
    const auto *gate_up = elements<T>(args.gate_up), *d_a = elements<T>(args.d_a);
    auto* d_gate_up = elements<T>(args.d_gate_up);
    const auto grid = RowGrid::of(tokens, dim, kPackOf<E>);
    launch(swiglu_backward_kernel<Accumulator<T>, E>, stream, grid.launch_shape(), gate_up, d_a, d_gate_up, grid, dim,
           moves_whole_packs<E>(dim, gate_up, d_a, d_gate_up));
  });
}

}  // namespace rondo::cuda

// SPDX-License-Identifier: Apache-2.0
#include <bit>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/operations.hpp"
#include "kernels/cuda/packs.cuh"
#include "kernels/dispatch.hpp"

namespace rondo::cuda {

namespace {

template <typename E> __global__ void fill_kernel(E* to, std::int64_t count, E value, bool wide) {
  constexpr int kPack = kPackOf<E>;
  const std::int64_t first = (std::int64_t{blockIdx.x} * kBlockThreads + threadIdx.x) * kPack;
  if (first >= count) return;
  Pack<E, kPack> pack;
#pragma unroll
  for (int i = 0; i < kPack; ++i) pack.values[i] = value;
  store_pack(to + first, pack, count - first, wide);
}

}  // namespace

void fill(Stream& stream, const TensorView& to, double value) {
  with_storage_type(to.dtype, [&]<typename T>() {
    using E = Element<T>;
    const std::int64_t count = to.count(), packs = (count + kPackOf<E> - 1) / kPackOf<E>;
    const auto rounded = std::bit_cast<E>(static_cast<T>(static_cast<Accumulator<T>>(value)));
    launch(fill_kernel<E>, stream, {.blocks = (packs + kBlockThreads - 1) / kBlockThreads, .threads = kBlockThreads},
           elements<T>(to), count, rounded, are_aligned(elements<T>(to)));
  });
}

}  // namespace rondo::cuda

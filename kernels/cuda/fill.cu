// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/elements.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/operations.hpp"
#include "kernels/dispatch.hpp"

namespace rondo::cuda {

namespace {

constexpr int kThreads = 256;

template <typename E> __global__ void fill_kernel(E* to, std::int64_t count, E value) {
  const std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < count) to[i] = value;
}

}  // namespace

void fill(Stream& stream, const TensorView& to, double value) {
  with_storage_type(to.dtype, [&]<typename T>() {
    const T rounded = static_cast<T>(static_cast<Accumulator<T>>(value));
    const std::int64_t count = to.count();
    launch(fill_kernel<T>, stream, {.blocks = (count + kThreads - 1) / kThreads, .threads = kThreads}, to.as<T>(),
           count, rounded);
  });
}

}  // namespace rondo::cuda

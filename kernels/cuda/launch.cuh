// SPDX-License-Identifier: Apache-2.0
// Starts kernels, and asks CUDA after each start whether it could: no kernel forgets.
#pragma once

#include <cstdint>
#include <cuda_runtime.h>
#include <type_traits>

#include "core/error.hpp"
#include "kernels/cuda/check.hpp"
#include "kernels/cuda/device.hpp"

namespace rondo::cuda {

inline constexpr int kBlockThreads = 256;  // of kernels that have no reason for another size

struct LaunchShape {
  std::int64_t blocks;
  int threads;
  std::size_t shared_bytes = 0;  // what dynamic_shared() gives
};

/// Lets the current device give a kernel more than the 48 KiB of dynamic shared memory that need no permission; asks
/// CUDA once for each kernel and device. @throws DeviceError if the device has less
void allow_shared_memory(const void* kernel, std::size_t bytes);

/// Asynchronous on the stream. A grid without blocks is no work, not an error.
template <typename... Parameters>
void launch(void (*kernel)(Parameters...), Stream& stream, const LaunchShape& shape,
            const std::type_identity_t<Parameters>&... parameters) {
  if (shape.blocks == 0) return;
  ensure(shape.blocks < std::int64_t{1} << 31, "a grid has at most 2^31 - 1 blocks");
  if (shape.shared_bytes > 48 * 1024) allow_shared_memory(reinterpret_cast<const void*>(kernel), shape.shared_bytes);
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(shape.blocks));
  config.blockDim = dim3(static_cast<unsigned>(shape.threads));
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = native(stream);
  check(cudaLaunchKernelEx(&config, kernel, parameters...));
}

/// The block's dynamic shared memory, 16-byte aligned.
template <typename T> __device__ T* dynamic_shared() {
#ifdef __CUDACC__
  extern __shared__ __align__(128) unsigned char memory_of_block[];
  return reinterpret_cast<T*>(memory_of_block);
#else
  return static_cast<T*>(emulation::dynamic_shared());  // tests/support/cuda_emulation
#endif
}

}  // namespace rondo::cuda

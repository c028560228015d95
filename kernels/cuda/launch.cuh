// SPDX-License-Identifier: Apache-2.0
// Starts kernels, and asks CUDA after each start whether it could: no kernel forgets.
#pragma once

#include <cstdint>
#include <type_traits>

#include "core/error.hpp"
#include "kernels/cuda/check.hpp"
#include "kernels/cuda/device.hpp"

namespace rondo::cuda {

struct LaunchShape {
  std::int64_t blocks;
  int threads;
  std::size_t shared_bytes = 0;
};

/// Asynchronous on the stream. A grid without blocks is no work, not an error.
template <typename... Parameters>
void launch(void (*kernel)(Parameters...), Stream& stream, const LaunchShape& shape,
            const std::type_identity_t<Parameters>&... parameters) {
  if (shape.blocks == 0) return;
  ensure(shape.blocks < std::int64_t{1} << 31, "a grid has at most 2^31 - 1 blocks");
  ensure(shape.shared_bytes <= 48 * 1024, "a plain kernel uses at most 48 KiB of shared memory");
  kernel<<<static_cast<unsigned>(shape.blocks), shape.threads, shape.shared_bytes, native(stream)>>>(parameters...);
  check(cudaGetLastError());
}

}  // namespace rondo::cuda

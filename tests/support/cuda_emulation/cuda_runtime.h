// SPDX-License-Identifier: Apache-2.0
// Replaces what nvcc provides to every .cu file: the keywords of the language, and kernel launches.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cuda_runtime_api.h"
#include "tests/support/cuda_emulation/emulation.hpp"

#define __global__
#define __device__
#define __host__
#define __constant__ static const
#define __shared__ static thread_local  // filled with NaN before each block
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(bytes) alignas(bytes)

struct uint3 { unsigned x = 0, y = 0, z = 0; };
struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  dim3() = default;
  dim3(unsigned x_, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(16) double2 { double x, y; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(16) int4 { int x, y, z, w; };
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

struct cudaLaunchAttribute {};
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  std::size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
  cudaLaunchAttribute* attrs = nullptr;
  unsigned numAttrs = 0;
};

template <typename... Parameters, typename... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  const auto* address = reinterpret_cast<const void*>(kernel);
  const auto allowed = rondo::emulation::allowed_shared_bytes().find(address);
  const std::size_t limit = allowed == rondo::emulation::allowed_shared_bytes().end()
                                ? rondo::emulation::kDefaultSharedBytes
                                : std::max(rondo::emulation::kDefaultSharedBytes, allowed->second);
  const dim3 &grid = config->gridDim, &block = config->blockDim;
  const std::size_t threads = std::size_t{block.x} * block.y * block.z;
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.y > 65535 || grid.z > 65535) return cudaErrorInvalidValue;
  if (threads == 0 || threads > 1024 || config->dynamicSmemBytes > limit) return cudaErrorInvalidValue;
  rondo::emulation::run_grid({.grid = {grid.x, grid.y, grid.z},
                              .block = {block.x, block.y, block.z},
                              .shared_bytes = config->dynamicSmemBytes},
                             address, [&] { kernel(arguments...); });
  return cudaSuccess;
}

#include "tests/support/cuda_emulation/device_functions.hpp"

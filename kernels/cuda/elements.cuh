// SPDX-License-Identifier: Apache-2.0
// Element types in device code, and reductions over the threads of a block in a fixed order.
#pragma once

#include <cuda_bf16.h>

#include "core/dtype.hpp"
#include "core/tensor_view.hpp"

namespace rondo::cuda {

/// What device code uses for a storage type: the same bits, with CUDA's conversions.
template <typename T> struct DeviceElement { using type = T; };
template <> struct DeviceElement<bf16> { using type = __nv_bfloat16; };
template <typename T> using Element = typename DeviceElement<T>::type;

template <typename T> Element<T>* elements(const TensorView& view) {
  return reinterpret_cast<Element<T>*>(view.as<T>());
}

__device__ inline double load(double value) { return value; }
__device__ inline float load(float value) { return value; }
__device__ inline float load(__nv_bfloat16 value) { return __bfloat162float(value); }

/// The value as storage type E, rounded to nearest.
template <typename E, typename Sum> __device__ E store(Sum value) { return static_cast<E>(value); }
template <> __device__ inline __nv_bfloat16 store<__nv_bfloat16, float>(float value) {
  return __float2bfloat16_rn(value);
}
/// Through an fp32 that is rounded to odd: its last bit remembers that something was cut off, so that nothing is rounded
/// twice.
template <> __device__ inline __nv_bfloat16 store<__nv_bfloat16, double>(double value) {
  const float cut = __double2float_rz(value);
  return __float2bfloat16_rn(static_cast<double>(cut) == value ? cut : __uint_as_float(__float_as_uint(cut) | 1U));
}

/// Combines one value of each lane of a warp; all lanes get the result, always added up in the same order.
template <typename Sum, typename Combine> __device__ Sum warp_reduce(Sum value, Combine combine) {
  for (int distance = 16; distance > 0; distance /= 2) {
    value = combine(value, __shfl_xor_sync(0xffffffffU, value, distance));
  }
  return value;
}

/// Combines one value of each thread; all threads get the result. `shared` has room for a value of each warp
/// and is free again on return. Always the same order, so always the same bits. @pre all threads call; whole
/// warps
template <typename Sum, typename Combine> __device__ Sum block_reduce(Sum value, Sum* shared, Combine combine) {
  value = warp_reduce(value, combine);
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = value;
  __syncthreads();
  value = shared[0];
  for (unsigned warp = 1; warp < blockDim.x / 32; ++warp) value = combine(value, shared[warp]);
  __syncthreads();
  return value;
}

struct Add {
  template <typename Sum> __device__ Sum operator()(Sum a, Sum b) const { return a + b; }
};
struct Larger {
  template <typename Sum> __device__ Sum operator()(Sum a, Sum b) const { return a < b ? b : a; }
};

template <typename Sum> __device__ Sum block_sum(Sum value, Sum* shared) { return block_reduce(value, shared, Add{}); }
template <typename Sum> __device__ Sum block_max(Sum value, Sum* shared) {
  return block_reduce(value, shared, Larger{});
}

}  // namespace rondo::cuda

// SPDX-License-Identifier: Apache-2.0
// Replaces CUDA's header of this name: the calls that our kernel files make, performed at once on the CPU.
#pragma once

#include <cstddef>
#include <cstring>
#include <map>

struct CUstream_st;
struct CUevent_st;
using cudaStream_t = CUstream_st*;
using cudaEvent_t = CUevent_st*;

enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1 };
enum cudaMemcpyKind { cudaMemcpyHostToHost, cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice, cudaMemcpyDefault };
enum cudaFuncAttribute {
  cudaFuncAttributeMaxDynamicSharedMemorySize = 8,
  cudaFuncAttributePreferredSharedMemoryCarveout = 9
};
enum cudaSharedCarveout { cudaSharedmemCarveoutMaxShared = 100 };

inline cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind, cudaStream_t) {
  std::memmove(to, from, bytes);
  return cudaSuccess;
}
inline cudaError_t cudaMemsetAsync(void* to, int byte, std::size_t bytes, cudaStream_t) {
  std::memset(to, byte, bytes);
  return cudaSuccess;
}

namespace rondo::emulation {

constexpr std::size_t kDefaultSharedBytes = 48 * 1024, kMostSharedBytes = 227 * 1024;  // of Hopper

/// The dynamic shared memory beyond the default that a kernel may request, as set for it.
inline std::map<const void*, std::size_t>& allowed_shared_bytes() {
  static std::map<const void*, std::size_t> all;
  return all;
}

}  // namespace rondo::emulation

inline cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  if (attribute == cudaFuncAttributePreferredSharedMemoryCarveout) return cudaSuccess;  // a hint
  if (static_cast<std::size_t>(value) > rondo::emulation::kMostSharedBytes) return cudaErrorInvalidValue;
  rondo::emulation::allowed_shared_bytes()[kernel] = static_cast<std::size_t>(value);
  return cudaSuccess;
}

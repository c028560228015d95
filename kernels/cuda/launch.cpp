// SPDX-License-Identifier: Apache-2.0
#include <map>
#include <utility>

#include "kernels/cuda/check.hpp"

namespace rondo::cuda {

void allow_shared_memory(const void* kernel, std::size_t bytes) {
  static std::map<std::pair<const void*, int>, std::size_t> allowed;  // as CUDA has it, for the whole process
  int device = 0;
  check(cudaGetDevice(&device));
  std::size_t& most = allowed[{kernel, device}];
  if (bytes <= most) return;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)));
  // All of a multiprocessor's memory that can be shared, so that as many blocks of threads fit as the kernel counts on.
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared));
  most = bytes;
}

}  // namespace rondo::cuda

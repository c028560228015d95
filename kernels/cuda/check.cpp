// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/check.hpp"

#include <string>

#include "core/error.hpp"

namespace rondo::cuda {

namespace {

// Any other status says enough by itself, so this is a chain of comparisons and no switch over CUDA's long
// list.
std::string advice_for(cudaError_t status) {
  if (status == cudaErrorMemoryAllocation) return "use a shorter sequence, more ranks or a smaller model";
  if (status == cudaErrorInsufficientDriver) return "the driver is older than this CUDA runtime, or there is none";
  if (status == cudaErrorNoDevice) return "no GPU is visible: see nvidia-smi and CUDA_VISIBLE_DEVICES";
  if (status == cudaErrorNoKernelImageForDevice)
    return "build with the architecture of this GPU in CMAKE_CUDA_ARCHITECTURES";
  if (status == cudaErrorIllegalAddress) return "a defect of Rondo: run again under compute-sanitizer and report it";
  return {};
}

}  // namespace

void check(cudaError_t status, std::source_location caller) {
  if (status == cudaSuccess) return;
  throw DeviceError(std::string("CUDA: ") + cudaGetErrorString(status) + " (" + cudaGetErrorName(status) + ")",
                    std::string(caller.file_name()) + ":" + std::to_string(caller.line()), advice_for(status));
}

}  // namespace rondo::cuda

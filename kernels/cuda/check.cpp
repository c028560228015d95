// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/check.hpp"

#include <string>

#include "core/error.hpp"
#include "core/log.hpp"
#include "kernels/cuda/check_release.hpp"

namespace rondo::cuda {

namespace {

// Has this process met a fault after which its context is of no use?
bool is_context_lost = false;

/// Faults of kernels and of the hardware. They are sticky: CUDA returns them from every later call.
bool is_sticky(cudaError_t status) {
  for (const cudaError_t fault :
       {cudaErrorIllegalAddress, cudaErrorMisalignedAddress, cudaErrorInvalidAddressSpace, cudaErrorInvalidPc,
        cudaErrorIllegalInstruction, cudaErrorHardwareStackError, cudaErrorAssert, cudaErrorLaunchFailure,
        cudaErrorLaunchTimeout, cudaErrorECCUncorrectable, cudaErrorNvlinkUncorrectable}) {
    if (status == fault) return true;
  }
  return false;
}

// Any other status says enough by itself, so this is a chain of comparisons and no switch over CUDA's long list.
std::string advice_for(cudaError_t status) {
  if (status == cudaErrorMemoryAllocation) return "use a shorter sequence, more ranks or a smaller model";
  if (status == cudaErrorInsufficientDriver) return "the driver is older than this CUDA runtime, or there is none";
  if (status == cudaErrorNoDevice) return "no GPU is visible: see nvidia-smi and CUDA_VISIBLE_DEVICES";
  if (status == cudaErrorNoKernelImageForDevice)
    return "build with the architecture of this GPU in CMAKE_CUDA_ARCHITECTURES";
  if (status == cudaErrorECCUncorrectable || status == cudaErrorNvlinkUncorrectable)
    return "the hardware failed: see nvidia-smi -q and the kernel log, and use another GPU";
  if (is_sticky(status)) {
    return "a defect of Rondo: run again with CUDA_LAUNCH_BLOCKING=1, which names the kernel, or under "
           "compute-sanitizer, and "
           "report it";
  }
  return {};
}

std::string text_of(cudaError_t status) {
  std::string text = std::string("CUDA: ") + cudaGetErrorString(status) + " (" + cudaGetErrorName(status) + ")";
  if (is_sticky(status)) text += "; work that was given to the GPU before this call failed";
  return text;
}

}  // namespace

void check(cudaError_t status, std::source_location caller) {
  if (status == cudaSuccess) return;
  is_context_lost = is_context_lost || is_sticky(status);
  throw DeviceError(text_of(status), std::string(caller.file_name()) + ":" + std::to_string(caller.line()),
                    advice_for(status));
}

void check_release(cudaError_t status, const char* what) noexcept {
  if (status == cudaSuccess || is_context_lost) return;
  if (is_sticky(status)) {
    is_context_lost = true;
    log::warning("{}; {}", text_of(status), advice_for(status));
  } else {
    log::warning("{} could not be released: {}", what, cudaGetErrorName(status));
  }
}

}  // namespace rondo::cuda

// SPDX-License-Identifier: Apache-2.0
// Turns the status of every CUDA call into a DeviceError that names the caller.
#pragma once

#include <cuda_runtime_api.h>
#include <source_location>

namespace rondo::cuda {

/// Throws DeviceError with CUDA's own text, the caller's file and line, and what to do where the cause is
/// usual.
void check(cudaError_t status, std::source_location caller = std::source_location::current());

}  // namespace rondo::cuda

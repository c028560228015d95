// SPDX-License-Identifier: Apache-2.0
// What destructors say when CUDA releases nothing.
#pragma once

#include <cuda_runtime_api.h>

namespace rondo::cuda {

/// Warns that `what` could not be released. After a fault of a kernel every call of CUDA fails, so then only the fault itself is
/// logged, once, unless check() has already thrown it.
void check_release(cudaError_t status, const char* what) noexcept;

}  // namespace rondo::cuda

// SPDX-License-Identifier: Apache-2.0
// CUDA's runtime as kernels/cuda/device.cpp calls it, without a GPU: every call answers with a status that the test sets.
// Stands in for the library at link time.
#pragma once

#include <cuda_runtime_api.h>

namespace rondo::test::fake_cuda_runtime {

/// From now on every call returns this, as after a fault of a kernel.
void answer_with(cudaError_t status);

}  // namespace rondo::test::fake_cuda_runtime

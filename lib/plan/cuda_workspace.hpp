// SPDX-License-Identifier: Apache-2.0
// What the kernels of the CUDA backend take beside their arguments. Written here a second time, since a plan is made where the
// module librondo_cuda.so may be missing; a change of a kernel's scratch there belongs here too.
#pragma once

#include "core/attention_kernel.hpp"
#include "kernels/workspace.hpp"

namespace rondo {

/// @pre the device outlives it. What the backend has from its start is taken at once.
/// @param kernel as parallel.attention_kernel; `auto` is taken for cuDNN, which takes the most, wherever it can be
std::unique_ptr<KernelWorkspace> make_cuda_workspace(Device& device, AttentionKernel kernel);

}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
// The scratch memory that the CUDA kernels take besides their arguments. It is described here a second time, because a plan
// must work without the module librondo_cuda.so: a change of a kernel's scratch must be repeated here.
#pragma once

#include "core/attention_kernel.hpp"
#include "kernels/workspace.hpp"

namespace rondo {

/// @pre the device outlives it. Memory that the backend allocates at its start is taken at once.
/// @param kernel as parallel.attention_kernel; `auto` counts as cuDNN, which takes the most, wherever cuDNN is possible
std::unique_ptr<KernelWorkspace> make_cuda_workspace(Device& device, AttentionKernel kernel);

}  // namespace rondo

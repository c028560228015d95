// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace rondo::cuda {

/// Compute capability of the calling thread's GPU as libraries write it: 90 for an H100.
int sm_version_of_current_gpu();

}  // namespace rondo::cuda

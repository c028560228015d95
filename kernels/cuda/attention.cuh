// SPDX-License-Identifier: Apache-2.0
// What the attention kernels share: the mask as plain data of the device, sizes of a block.
#pragma once

#include "kernels/attention.hpp"
#include "kernels/cuda/elements.cuh"
#include "kernels/cuda/runs.cuh"

namespace rondo::cuda {

/// The mask with its document offsets copied to scratch memory of the device, in stream order. @pre inside a
/// Scope
AttentionMaskView device_mask(Stream& stream, const AttentionMaskView& mask, Arena& scratch);

/// What all attention kernels take besides their tensors.
struct BlockGeometry {
  AttentionSizes sizes;
  DeviceRuns query_runs, key_runs;
  AttentionMaskView mask;
};

}  // namespace rondo::cuda

// SPDX-License-Identifier: Apache-2.0
// What the attention kernels share: the mask as plain data of the device, sizes of a block.
#pragma once

#include "kernels/attention.hpp"
#include "kernels/cuda/elements.cuh"
#include "kernels/cuda/runs.cuh"

namespace rondo::cuda {

/// The key positions that each of the T queries sees, computed on the device in stream order. Document offsets travel as
/// parameters of the kernel, so the host neither waits nor has to keep them. @pre inside a Scope, which keeps the memory
const KeyInterval* visible_keys(Stream& stream, const TokenRuns& query_runs, const AttentionMaskView& mask,
                                Arena& scratch);

/// What all attention kernels take besides their tensors.
struct BlockGeometry {
  AttentionSizes sizes;
  DeviceRuns key_runs;
  const KeyInterval* visible;  // [T]
};

}  // namespace rondo::cuda

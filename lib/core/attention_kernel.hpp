// SPDX-License-Identifier: Apache-2.0
// Which kernel computes block attention on a GPU; the CPU backends have no choice.
#pragma once

namespace rondo {

/// Auto: the committed table of the backend decides. Cudnn: NVIDIA's library. Fused: our own kernel.
enum class AttentionKernel { Auto, Cudnn, Fused };

}  // namespace rondo

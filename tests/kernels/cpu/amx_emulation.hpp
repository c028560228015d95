// SPDX-License-Identifier: Apache-2.0
// The attention kernels for AMX, on an emulated tile unit.
#pragma once

#include "kernels/cpu/kernel_table.hpp"

namespace rondo::test {

/// The AMX attention kernels without the tile unit. @pre the processor has AVX-512
const cpu::AttentionKernels& emulated_amx_attention();

}  // namespace rondo::test

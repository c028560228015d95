// SPDX-License-Identifier: Apache-2.0
// Memory of an emulated device: each piece lies between pages that nobody may touch, and starts as NaN.
#pragma once

#include <cstddef>

namespace rondo::emulation {

/// 64-byte aligned, every byte 0xff: NaN in all floating-point types, -1 in integers. The first byte behind the piece,
/// rounded up to 64, ends the program with a message.
void* allocate_guarded(std::size_t bytes);
/// Ends the program with a message if a byte beside the piece was written.
void free_guarded(void* memory) noexcept;

}  // namespace rondo::emulation

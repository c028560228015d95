// SPDX-License-Identifier: Apache-2.0
// Memory of an emulated device: each allocation lies between inaccessible guard pages and is initially NaN.
#pragma once

#include <cstddef>

namespace rondo::emulation {

/// 64-byte aligned, every byte 0xff: NaN in all floating-point types, -1 in integers. Touching the first byte after the
/// allocation, rounded up to 64, ends the program with a message.
void* allocate_guarded(std::size_t bytes);
/// Ends the program with a message if a byte next to the allocation was written.
void free_guarded(void* memory) noexcept;

}  // namespace rondo::emulation

// SPDX-License-Identifier: Apache-2.0
// Which instruction sets this processor and this system allow.
#pragma once

#include <string_view>

namespace rondo::cpu {

/// Each includes the ones before it. Amx: AVX-512 with BF16 and AMX tiles for bf16 attention.
enum class Isa { Portable, Avx2, Avx512, Amx };

std::string_view name_of(Isa isa);
/// The best one that the processor has and the system lets us use; for AMX this asks the kernel for permission once.
Isa best_isa();
/// Has the processor units for bf16 products (AVX512_BF16 or AMX)? If not, oneDNN emulates them slowly.
bool has_bf16_units();

}  // namespace rondo::cpu

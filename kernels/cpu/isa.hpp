// SPDX-License-Identifier: Apache-2.0
// Which instruction sets this processor and this system allow.
#pragma once

#include <optional>
#include <string_view>

namespace rondo::cpu {

/// Each includes the ones before it. Amx: AVX-512 with BF16 and AMX tiles for bf16 attention.
enum class Isa { Portable, Avx2, Avx512, Amx };

std::string_view name_of(Isa isa);
/// Nothing for a name that name_of() never gives.
std::optional<Isa> isa_named(std::string_view name);
/// The best one that the processor has and the system lets us use, within the limit; for AMX this asks the kernel for
/// permission once.
Isa best_isa();
/// From now on best_isa() is no better than this, and oneDNN uses no more: for comparisons and tests, which see what a lesser
/// processor would do. @pre nothing has been computed yet
void limit_isa(Isa most);
/// Has the processor units for bf16 products (AVX512_BF16 or AMX)? If not, oneDNN emulates them slowly.
bool has_bf16_units();

}  // namespace rondo::cpu

// SPDX-License-Identifier: Apache-2.0
// Which instruction sets the processor and the operating system allow.
#pragma once

#include <optional>
#include <string_view>

namespace rondo::cpu {

/// Each includes the ones before it. Amx: AVX-512 with BF16 and AMX tiles for bf16 attention.
enum class Isa { Portable, Avx2, Avx512, Amx };

std::string_view name_of(Isa isa);
/// Nothing for a name that name_of() never returns.
std::optional<Isa> isa_named(std::string_view name);
/// The best one that the processor has and the system permits, within the limit; for AMX this requests permission from the
/// kernel once.
Isa best_isa();
/// Limits best_isa() and oneDNN to this instruction set, for comparisons and tests of what an older processor computes.
/// @pre nothing has been computed yet
void limit_isa(Isa most);
/// Whether the processor has units for bf16 products (AVX512_BF16 or AMX). If not, oneDNN emulates them slowly.
bool has_bf16_units();

}  // namespace rondo::cpu

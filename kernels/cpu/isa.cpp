// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/isa.hpp"

#include <algorithm>
#include <atomic>
#include <dnnl.hpp>

#include "core/error.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace rondo::cpu {

namespace {

#if defined(__x86_64__)

bool has_bit(unsigned leaf, unsigned subleaf, int reg, int bit) {
  unsigned regs[4] = {};
  if (__get_cpuid_count(leaf, subleaf, &regs[0], &regs[1], &regs[2], &regs[3]) == 0) return false;
  return ((regs[reg] >> bit) & 1U) != 0;
}

bool has_amx_bf16() { return has_bit(7, 0, 3, 22) && has_bit(7, 0, 3, 24); }  // EDX: AMX-BF16, AMX-TILE

/// Linux gives a process the tile registers only on request (arch_prctl ARCH_REQ_XCOMP_PERM).
bool may_use_tiles() {
#if defined(__linux__) && defined(SYS_arch_prctl)
  constexpr int kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

#endif

Isa detect() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (avx512 && has_bit(7, 1, 0, 5) && has_amx_bf16() && may_use_tiles()) return Isa::Amx;
  if (avx512) return Isa::Avx512;
  if (avx2) return Isa::Avx2;
#endif
  return Isa::Portable;
}

/// The corresponding instruction set of oneDNN, whose lowest is SSE 4.1, also for the portable kernels.
dnnl::cpu_isa onednn_isa(Isa isa) {
  switch (isa) {
    case Isa::Portable: return dnnl::cpu_isa::sse41;
    case Isa::Avx2: return dnnl::cpu_isa::avx2;
    case Isa::Avx512: return dnnl::cpu_isa::avx512_core_bf16;
    case Isa::Amx: break;
  }
  return dnnl::cpu_isa::all;
}

std::atomic<Isa> limit{Isa::Amx};

}  // namespace

std::string_view name_of(Isa isa) {
  switch (isa) {
    case Isa::Portable: return "portable";
    case Isa::Avx2: return "avx2";
    case Isa::Avx512: return "avx512";
    case Isa::Amx: return "amx";
  }
  return "?";
}

std::optional<Isa> isa_named(std::string_view name) {
  for (const Isa isa : {Isa::Portable, Isa::Avx2, Isa::Avx512, Isa::Amx}) {
    if (name == name_of(isa)) return isa;
  }
  return {};
}

Isa best_isa() {
  static const Isa best = detect();
  return std::min(best, limit.load());
}

void limit_isa(Isa most) {
  limit = most;
  if (most < Isa::Amx) {
    ensure(dnnl::set_max_cpu_isa(onednn_isa(most)) == dnnl::status::success,
           "oneDNN is limited before it has computed anything");
  }
}

bool has_bf16_units() {
#if defined(__x86_64__)
  return best_isa() >= Isa::Avx512 && has_bit(7, 1, 0, 5);  // EAX: AVX512_BF16
#else
  return false;
#endif
}

}  // namespace rondo::cpu

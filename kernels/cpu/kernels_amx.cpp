// SPDX-License-Identifier: Apache-2.0
// bf16 attention on the tile registers of the processor (flags in CMakeLists.txt); used only if isa.cpp found the unit and got
// permission.
#if defined(__x86_64__)
#include "kernels/cpu/amx_tiles.hpp"

namespace rondo::cpu {

namespace {

struct TileUnit {
  // Eight tiles of 16 rows of 64 bytes. Configured for each call, since oneDNN has its own configuration.
  static void configure() {
    alignas(64) std::uint8_t config[64] = {1};  // palette 1
    for (int tile = 0; tile < 8; ++tile) {
      config[16 + 2 * tile] = 64;  // bytes per row
      config[48 + tile] = 16;      // rows
    }
    _tile_loadconfig(config);
  }
  static void release() { _tile_release(); }

  // The compiler's intrinsics are macros that paste the tile's number as text, so they cannot take a template argument.
  template <int kTile> static void zero() { __asm__ volatile("tilezero %%tmm%c0" : : "i"(kTile)); }
  template <int kTile> static void load(const void* from, std::ptrdiff_t row_bytes) {
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(row_bytes), "i"(kTile) : "memory");
  }
  template <int kTile> static void store(void* to, std::ptrdiff_t row_bytes) {
    __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(row_bytes), "i"(kTile) : "memory");
  }
  template <int kSum, int kA, int kB> static void multiply() {
    __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSum), "i"(kA), "i"(kB));
  }
};

}  // namespace

const AttentionKernels& amx_attention() {
  static const AttentionKernels table = AmxAttention<TileUnit>::table();
  return table;
}

}  // namespace rondo::cpu
#endif

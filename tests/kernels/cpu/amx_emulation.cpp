// SPDX-License-Identifier: Apache-2.0
// The AMX attention kernels on a scalar emulation of the tile unit: TDPBF16PS as Intel documents it, on arrays. It shows
// every error of layout on machines without the unit.
#include "tests/kernels/cpu/amx_emulation.hpp"

#include "kernels/cpu/amx_tiles.hpp"

namespace rondo::test {

namespace {

struct EmulatedTiles {
  static inline thread_local std::uint32_t tiles[8][16][16];
  static inline thread_local bool configured = false;

  static void configure() { configured = true; }
  static void release() { configured = false; }

  template <int kTile> static void zero() { __builtin_memset(tiles[kTile], 0, sizeof tiles[kTile]); }
  template <int kTile> static void load(const void* from, std::ptrdiff_t row_bytes) {
    for (int row = 0; row < 16; ++row) {
      __builtin_memcpy(tiles[kTile][row], static_cast<const char*>(from) + row * row_bytes, 64);
    }
  }
  template <int kTile> static void store(void* to, std::ptrdiff_t row_bytes) {
    if (!configured) __builtin_trap();
    for (int row = 0; row < 16; ++row) {
      __builtin_memcpy(static_cast<char*>(to) + row * row_bytes, tiles[kTile][row], 64);
    }
  }
  static float number(std::uint32_t bits) {
    float x;
    __builtin_memcpy(&x, &bits, 4);
    return x;
  }
  // c[m][n] += a[m][2k] b[k][2n] + a[m][2k+1] b[k][2n+1]
  template <int kSum, int kA, int kB> static void multiply() {
    for (int m = 0; m < 16; ++m) {
      for (int k = 0; k < 16; ++k) {
        for (int n = 0; n < 16; ++n) {
          const std::uint32_t a = tiles[kA][m][k], b = tiles[kB][k][n];
          const float sum = number(tiles[kSum][m][n]) + number(a << 16) * number(b << 16) +
                            number(a & 0xffff0000U) * number(b & 0xffff0000U);
          __builtin_memcpy(&tiles[kSum][m][n], &sum, 4);
        }
      }
    }
  }
};

}  // namespace

const cpu::AttentionKernels& emulated_amx_attention() {
  static const cpu::AttentionKernels table = cpu::AmxAttention<EmulatedTiles>::table();
  return table;
}

}  // namespace rondo::test

// SPDX-License-Identifier: Apache-2.0
// The second half of kernels/cuda/warp_instructions.cuh, which includes it in the emulation: the same functions, each
// performing lane by lane what the PTX manual specifies for its instruction.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>

#include "kernels/cuda/elements.cuh"
#include "tests/support/cuda_emulation/emulation.hpp"

namespace rondo::cuda {

inline void expect_aligned(const void* address, std::uintptr_t bytes, const char* instruction) {
  if (reinterpret_cast<std::uintptr_t>(address) % bytes == 0) return;
  throw emulation::KernelError(std::string(instruction) + " of an address that is not aligned");
}

inline std::uint32_t bits_of(__nv_bfloat16 value) {
  std::uint16_t bits;
  static_assert(sizeof bits == sizeof value);
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

inline float half_of(std::uint32_t pair, int high) {
  return std::bit_cast<float>(high == 0 ? pair << 16 : pair & 0xffff0000U);
}

/// ldmatrix.sync.aligned.m8n8.x4[.trans].shared.b16
template <Transposed kTransposed> Matrices load_matrices(const __nv_bfloat16* row) {
  struct Operands {
    const __nv_bfloat16* row;
    Matrices loaded;
  } mine{row, {}};
  expect_aligned(row, 16, "ldmatrix");
  emulation::warp_exchange("ldmatrix", emulation::kAllLanes, mine, [](auto& lanes) {
    for (int lane = 0; lane < 32; ++lane) {
      const int g = lane / 4, c = lane % 4;
      for (int matrix = 0; matrix < 4; ++matrix) {
        const auto element = [&](int matrix_row, int column) {
          return bits_of(lanes[static_cast<std::size_t>(8 * matrix + matrix_row)]->row[column]);
        };
        const bool transposed = kTransposed == Transposed::Yes;
        const std::uint32_t low = transposed ? element(2 * c, g) : element(g, 2 * c);
        const std::uint32_t high = transposed ? element(2 * c + 1, g) : element(g, 2 * c + 1);
        lanes[static_cast<std::size_t>(lane)]->loaded.x[matrix] = low | high << 16;
      }
    }
  });
  return mine.loaded;
}

/// mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32
inline void multiply_add(float (&sums)[4], const LeftFragment& left, const RightFragment& right) {
  struct Operands {
    float* sums;
    LeftFragment left;
    RightFragment right;
  } mine{sums, left, right};
  emulation::warp_exchange("mma", emulation::kAllLanes, mine, [](auto& lanes) {
    float a[16][16], b[8][16];  // rows of the left operand, columns of the right one
    for (int lane = 0; lane < 32; ++lane) {
      const int g = lane / 4, c = lane % 4;
      const Operands& from = *lanes[static_cast<std::size_t>(lane)];
      for (int high = 0; high < 2; ++high) {
        for (int quarter = 0; quarter < 4; ++quarter) {
          const int row = g + 8 * (quarter % 2), column = 2 * c + 8 * (quarter / 2) + high;
          a[row][column] = half_of(from.left.quarters.x[quarter], high);
        }
        for (int part = 0; part < 2; ++part) b[g][2 * c + 8 * part + high] = half_of(from.right.x[part], high);
      }
    }
    for (int lane = 0; lane < 32; ++lane) {
      const int g = lane / 4, c = lane % 4;
      for (int e = 0; e < 4; ++e) {
        float& sum = lanes[static_cast<std::size_t>(lane)]->sums[e];
        for (int k = 0; k < 16; ++k) sum += a[g + 8 * (e / 2)][k] * b[2 * c + e % 2][k];
      }
    }
  });
}

/// cvt.rn.bf16x2.f32
inline std::uint32_t pack(float low, float high) {
  return bits_of(store<__nv_bfloat16>(low)) | bits_of(store<__nv_bfloat16>(high)) << 16;
}

/// ex2.approx.ftz.f32, with less error
inline float exp2_fast(float x) { return std::exp2(x); }

/// cp.async
template <int kBytes> void copy_async(void* to, const void* from, bool exists) {
  expect_aligned(to, kBytes, "cp.async");
  expect_aligned(from, kBytes, "cp.async");
  emulation::copy_later(to, exists ? from : nullptr, kBytes);
}

/// cp.async.wait_all
inline void wait_for_copies() {
  emulation::commit_copies();
  emulation::wait_for_copies(0);
}

}  // namespace rondo::cuda

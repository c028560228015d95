// SPDX-License-Identifier: Apache-2.0
// The instructions of sm_80 that attention needs and CUDA C++ has no word for: ldmatrix, mma.sync, cp.async, ex2.approx. Tests on
// CPUs, which use another compiler than nvcc, have their own versions of the same functions.
#pragma once

#include <cstdint>

#include "kernels/cuda/elements.cuh"

#ifdef __CUDACC__
#define RONDO_UNROLL _Pragma("unroll")
#else
#define RONDO_UNROLL
#endif

namespace rondo::cuda {

/// Four 8 x 8 matrices of bf16: a lane holds elements 2 c and 2 c + 1 of row g of each, the first in the low half.
struct Matrices {
  std::uint32_t x[4];
};

/// 16 x 16, left operand: rows g and g + 8 of the columns from 2 c, then of those from 2 c + 8.
struct LeftFragment {
  Matrices quarters;
};

/// 16 x 8, right operand: column g, rows from 2 c and from 2 c + 8.
struct RightFragment {
  std::uint32_t x[2];
};

enum class Transposed { No, Yes };

}  // namespace rondo::cuda

#ifndef __CUDACC__

#include "tests/support/cuda_emulation/warp_instructions.hpp"

#else

namespace rondo::cuda {

/// Lane i points to row i % 8 of matrix i / 8, 8 elements in shared memory, 16-byte aligned. @pre the whole warp calls
template <Transposed kTransposed> __device__ Matrices load_matrices(const __nv_bfloat16* row) {
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(row));
  Matrices m;
  if constexpr (kTransposed == Transposed::Yes) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(m.x[0]), "=r"(m.x[1]), "=r"(m.x[2]), "=r"(m.x[3])
                 : "r"(address)
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(m.x[0]), "=r"(m.x[1]), "=r"(m.x[2]), "=r"(m.x[3])
                 : "r"(address)
                 : "memory");
  }
  return m;
}

/// sums += left right. @pre the whole warp calls
__device__ inline void multiply_add(float (&sums)[4], const LeftFragment& left, const RightFragment& right) {
  const std::uint32_t(&a)[4] = left.quarters.x;
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(right.x[0]), "r"(right.x[1]));
}

/// Two values rounded to bf16, the first in the low half.
__device__ inline std::uint32_t pack(float low, float high) {
  std::uint32_t packed;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}

/// 2^x with a relative error of 2^-22; 2^-inf is 0, NaN stays NaN.
__device__ inline float exp2_fast(float x) {
  float power;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x));
  return power;
}

/// Starts to copy kBytes from global to shared memory, or to write zeros where there is nothing to copy.
template <int kBytes> __device__ void copy_async(void* to, const void* from, bool exists) {
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(to));
  const int source_bytes = exists ? kBytes : 0;
  if constexpr (kBytes == 16) {  // past L1: no other block of threads on this multiprocessor is likely to read the same
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from), "r"(source_bytes)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(address), "l"(from), "n"(kBytes),
                 "r"(source_bytes)
                 : "memory");
  }
}

/// Waits for this thread's copies; a barrier makes those of the others visible.
__device__ inline void wait_for_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

}  // namespace rondo::cuda

#endif

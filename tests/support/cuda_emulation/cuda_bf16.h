// SPDX-License-Identifier: Apache-2.0
// Replaces CUDA's header of this name. Conversions are those of rondo::bf16: to nearest, ties to even.
#pragma once

#include "core/dtype.hpp"
#include "tests/support/cuda_emulation/cuda_runtime.h"

struct __nv_bfloat16 {
  std::uint16_t bits;

  __nv_bfloat16() = default;
  explicit __nv_bfloat16(float value) : bits(rondo::bf16(value).bits) {}
  explicit operator float() const { return std::bit_cast<float>(std::uint32_t{bits} << 16); }
};
struct alignas(4) __nv_bfloat162 { __nv_bfloat16 x, y; };

inline float __bfloat162float(__nv_bfloat16 value) { return static_cast<float>(value); }
inline __nv_bfloat16 __float2bfloat16_rn(float value) { return __nv_bfloat16(value); }
inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y) { return {__nv_bfloat16(x), __nv_bfloat16(y)}; }
inline float2 __bfloat1622float2(__nv_bfloat162 pair) { return {__bfloat162float(pair.x), __bfloat162float(pair.y)}; }

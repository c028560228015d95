// SPDX-License-Identifier: Apache-2.0
// Element types of tensors, and the accumulator type that belongs to each.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace rondo {

enum class DType : std::uint8_t { Fp64, Fp32, Bf16, Int32, Int64 };

/// bfloat16: the upper half of an fp32. Conversion rounds to nearest, ties to even; NaN stays NaN.
struct bf16 {
  std::uint16_t bits = 0;

  bf16() = default;
  explicit bf16(float value) {
    const auto u = std::bit_cast<std::uint32_t>(value);
    if ((u & 0x7fffffffU) > 0x7f800000U) {
      bits = static_cast<std::uint16_t>((u >> 16) | 0x40U);
    } else {
      bits = static_cast<std::uint16_t>((u + 0x7fffU + ((u >> 16) & 1U)) >> 16);
    }
  }
  explicit operator float() const { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }
  explicit operator double() const { return static_cast<double>(static_cast<float>(*this)); }
};

constexpr std::size_t size_of(DType type) {
  switch (type) {
    case DType::Fp64:
    case DType::Int64: return 8;
    case DType::Fp32:
    case DType::Int32: return 4;
    case DType::Bf16: return 2;
  }
  return 0;
}

/// Type of carry, log-sum-exp, delta, dQ, travelling dK/dV, logits, gradients and loss.
constexpr DType accumulator_of(DType storage) { return storage == DType::Fp64 ? DType::Fp64 : DType::Fp32; }

constexpr std::string_view name_of(DType type) {
  switch (type) {
    case DType::Fp64: return "fp64";
    case DType::Fp32: return "fp32";
    case DType::Bf16: return "bf16";
    case DType::Int32: return "int32";
    case DType::Int64: return "int64";
  }
  return "?";
}

template <typename T> struct DTypeOf;
template <> struct DTypeOf<double> { static constexpr DType value = DType::Fp64; };
template <> struct DTypeOf<float> { static constexpr DType value = DType::Fp32; };
template <> struct DTypeOf<bf16> { static constexpr DType value = DType::Bf16; };
template <> struct DTypeOf<std::int32_t> { static constexpr DType value = DType::Int32; };
template <> struct DTypeOf<std::int64_t> { static constexpr DType value = DType::Int64; };
template <typename T> inline constexpr DType dtype_of = DTypeOf<T>::value;

template <typename T> struct AccumulatorOf { using type = float; };
template <> struct AccumulatorOf<double> { using type = double; };
template <typename T> using Accumulator = typename AccumulatorOf<T>::type;

}  // namespace rondo

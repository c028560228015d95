// SPDX-License-Identifier: Apache-2.0
// Eight floats in plain C++, for processors without AVX2. Slow but correct.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace rondo::cpu {
namespace {

struct Portable {
  static constexpr int kWidth = 8;
  static constexpr int kRegisters = 16;
  typedef float Float __attribute__((vector_size(32)));
  typedef std::int32_t Mask __attribute__((vector_size(32)));

  template <typename F> static Float each(F f) {
    Float x;
    for (int i = 0; i < kWidth; ++i) x[i] = f(i);
    return x;
  }
  static float widen(std::uint16_t bits) {
    const std::uint32_t u = static_cast<std::uint32_t>(bits) << 16;
    float x;
    std::memcpy(&x, &u, sizeof x);
    return x;
  }
  // To bf16: nearest, ties to even; NaN stays NaN.
  static std::uint16_t narrow(float x) {
    std::uint32_t u;
    std::memcpy(&u, &x, sizeof u);
    if ((u & 0x7fffffffU) > 0x7f800000U) return static_cast<std::uint16_t>((u >> 16) | 0x40U);
    return static_cast<std::uint16_t>((u + 0x7fffU + ((u >> 16) & 1U)) >> 16);
  }

  static Float zero() { return Float{}; }
  static Float broadcast(float x) { return Float{} + x; }
  static Float load(const float* p) {
    Float x;
    std::memcpy(&x, p, sizeof x);
    return x;
  }
  static Float load(const std::uint16_t* p) {
    return each([=](int i) { return widen(p[i]); });
  }
  static Float load_first(const float* p, int count) {
    return each([=](int i) { return i < count ? p[i] : 0.0F; });
  }
  static Float load_first(const std::uint16_t* p, int count) {
    return each([=](int i) { return i < count ? widen(p[i]) : 0.0F; });
  }
  static void store(float* p, Float x) { std::memcpy(p, &x, sizeof x); }
  static void store(std::uint16_t* p, Float x) { store_first(p, x, kWidth); }
  static void store_first(float* p, Float x, int count) {
    for (int i = 0; i < count; ++i) p[i] = x[i];
  }
  static void store_first(std::uint16_t* p, Float x, int count) {
    for (int i = 0; i < count; ++i) p[i] = narrow(x[i]);
  }

  static Float add(Float a, Float b) { return a + b; }
  static Float sub(Float a, Float b) { return a - b; }
  static Float mul(Float a, Float b) { return a * b; }
  static Float div(Float a, Float b) { return a / b; }
  static Float sqrt(Float a) {
    return each([=](int i) { return std::sqrt(a[i]); });
  }
  static Float max(Float a, Float b) { return a > b ? a : b; }
  static Float min(Float a, Float b) { return a < b ? a : b; }
  static Float fma(Float a, Float b, Float c) { return a * b + c; }
  static Float round(Float a) {
    return each([=](int i) { return std::nearbyint(a[i]); });
  }
  /// a * 2^n for whole n in [-126, 127]
  static Float scale_by_power(Float a, Float n) {
    return each([=](int i) { return std::ldexp(a[i], static_cast<int>(n[i])); });
  }
  /// begin[lane] <= value < end[lane]
  static Mask inside(const std::int32_t* begin, const std::int32_t* end, std::int32_t value) {
    Mask mask;
    for (int i = 0; i < kWidth; ++i) mask[i] = begin[i] <= value && value < end[i] ? -1 : 0;
    return mask;
  }
  static Float select(Mask mask, Float yes, Float no) { return mask ? yes : no; }
  static float reduce_add(Float a) { return ((a[0] + a[4]) + (a[2] + a[6])) + ((a[1] + a[5]) + (a[3] + a[7])); }
  static float reduce_max(Float a) {
    float most = a[0];
    for (int i = 1; i < kWidth; ++i) most = a[i] > most ? a[i] : most;
    return most;
  }
  /// Transposes a square of kWidth rows.
  static void transpose(Float* r) {
    for (int i = 0; i < kWidth; ++i) {
      for (int j = 0; j < i; ++j) {
        const float swap = r[i][j];
        r[i][j] = r[j][i];
        r[j][i] = swap;
      }
    }
  }
};

}  // namespace
}  // namespace rondo::cpu

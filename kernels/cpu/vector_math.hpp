// SPDX-License-Identifier: Apache-2.0
// Exponentials on vectors. Included only by the files that are compiled once for each instruction set.
#pragma once

namespace rondo::cpu {
namespace {

inline constexpr float kLog2E = 1.44269504088896341F;

/// 2^x to a relative error of 1.2e-7 (two units in the last place), 2^-126 below that and 2^127 above; NaN stays NaN.
/// Reduced to [-1/2, 1/2]; the polynomial of degree 6 is the minimax one for the relative error (1.9e-9 before rounding).
template <class V> inline typename V::Float exp2(typename V::Float x) {
  x = V::min(V::broadcast(127.0F), V::max(V::broadcast(-126.0F), x));  // in this order a NaN stays one
  const auto whole = V::round(x);
  const auto f = V::sub(x, whole);
  auto p = V::broadcast(1.534581202e-04F);
  p = V::fma(p, f, V::broadcast(1.339993122e-03F));
  p = V::fma(p, f, V::broadcast(9.618488957e-03F));
  p = V::fma(p, f, V::broadcast(5.550328777e-02F));
  p = V::fma(p, f, V::broadcast(2.402264689e-01F));
  p = V::fma(p, f, V::broadcast(6.931472057e-01F));
  p = V::fma(p, f, V::broadcast(1.0F));
  return V::scale_by_power(p, whole);
}

/// 1 / (1 + e^-x)
template <class V> inline typename V::Float sigmoid(typename V::Float x) {
  const auto one = V::broadcast(1.0F);
  return V::div(one, V::add(one, exp2<V>(V::mul(x, V::broadcast(-kLog2E)))));
}

}  // namespace
}  // namespace rondo::cpu

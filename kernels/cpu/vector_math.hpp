// SPDX-License-Identifier: Apache-2.0
// Exponentials on vectors. Included only by the files that are compiled once for each instruction set.
#pragma once

namespace rondo::cpu {
namespace {

/// e^x to a relative error of less than 2 x 2^-24; e^-87 below -87 and e^88 above 88; NaN stays NaN.
/// x = n ln 2 + r with ln 2 in two parts, the first of few bits so that n times it is exact (Cody and Waite); r is in
/// [-ln 2 / 2, ln 2 / 2], where the polynomial of degree 6 is the minimax one for the relative error.
template <class V> inline typename V::Float exponential(typename V::Float x) {
  x = V::min(V::broadcast(88.0F), V::max(V::broadcast(-87.0F), x));  // in this operand order NaN stays NaN
  const auto whole = V::round(V::mul(x, V::broadcast(1.44269504F)));
  const auto r = V::fma(whole, V::broadcast(2.12194440e-4F), V::fma(whole, V::broadcast(-0.693359375F), x));
  auto p = V::broadcast(1.383684601e-03F);
  p = V::fma(p, r, V::broadcast(8.374815805e-03F));
  p = V::fma(p, r, V::broadcast(4.166822557e-02F));
  p = V::fma(p, r, V::broadcast(1.666642017e-01F));
  p = V::fma(p, r, V::broadcast(4.999999208e-01F));
  p = V::fma(p, r, V::broadcast(1.000000036F));
  p = V::fma(p, r, V::broadcast(1.0F));
  return V::scale_by_power(p, whole);
}

/// e^x to a relative error of less than 2^-24, for values that are not probabilities: the same reduction, then
/// 1 + (r + r^2 p(r)) with the Taylor coefficients up to r^7 / 7!, whose remainder is 0.1 x 2^-24.
template <class V> inline typename V::Float fine_exponential(typename V::Float x) {
  x = V::min(V::broadcast(88.0F), V::max(V::broadcast(-87.0F), x));
  const auto whole = V::round(V::mul(x, V::broadcast(1.44269504F)));
  const auto r = V::fma(whole, V::broadcast(2.12194440e-4F), V::fma(whole, V::broadcast(-0.693359375F), x));
  auto p = V::broadcast(1.0F / 5040);
  p = V::fma(p, r, V::broadcast(1.0F / 720));
  p = V::fma(p, r, V::broadcast(1.0F / 120));
  p = V::fma(p, r, V::broadcast(1.0F / 24));
  p = V::fma(p, r, V::broadcast(1.0F / 6));
  p = V::fma(p, r, V::broadcast(0.5F));
  p = V::add(V::broadcast(1.0F), V::fma(V::mul(r, r), p, r));
  return V::scale_by_power(p, whole);
}

/// 1 / (1 + e^-x)
template <class V> inline typename V::Float sigmoid(typename V::Float x) {
  const auto one = V::broadcast(1.0F);
  return V::div(one, V::add(one, exponential<V>(V::sub(V::zero(), x))));
}

}  // namespace
}  // namespace rondo::cpu

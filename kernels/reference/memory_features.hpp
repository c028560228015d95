// SPDX-License-Identifier: Apache-2.0
// Common to the recurrences of M and z: the feature map, and the weight with which a write removes what is stored.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "kernels/compressive_memory.hpp"
#include "kernels/reference/loops.hpp"

namespace rondo::reference {

/// x + 1 above 0, exp(x) below; the form elu(x) + 1 suffers cancellation: at x = -18 it is 0 in fp32.
template <typename Sum> Sum feature(Sum x) { return x > 0 ? x + 1 : std::exp(x); }
template <typename Sum> Sum feature_slope(Sum x) { return x > 0 ? Sum{1} : std::exp(x); }

template <typename Sum, typename T> std::vector<Sum> features(const T* x, std::int64_t dim) {
  std::vector<Sum> phi(static_cast<std::size_t>(dim));
  for (std::int64_t d = 0; d < dim; ++d) phi[static_cast<std::size_t>(d)] = feature(static_cast<Sum>(x[d]));
  return phi;
}

/// d_x += d_phi sigma'(x)
template <typename Sum, typename T, typename From>
void add_feature_gradient(Sum* d_x, const T* x, const From* d_phi, std::int64_t dim) {
  for (std::int64_t d = 0; d < dim; ++d) {
    d_x[d] += static_cast<Sum>(d_phi[d] * static_cast<From>(feature_slope(static_cast<Sum>(x[d]))));
  }
}

/// w of MemoryRule, and the values that its gradient needs.
template <typename Sum> struct RetrievalWeight {
  Sum value;
  Sum overlap;      // c = phi z
  bool is_overlap;  // w = 1 / c, not 1 / e

  /// gamma of the corrected rule: exactly 0 for a key that is already stored.
  Sum new_part() const { return is_overlap && value > 0 ? Sum{0} : 1 - overlap * value; }
};

/// 1 / x, or 0 if x is below the smallest normal number.
template <typename Sum> Sum reciprocal_or_zero(Sum x) { return x >= std::numeric_limits<Sum>::min() ? 1 / x : Sum{0}; }

/// @param z before the segment  @param segment  u, the sum of its features
template <typename Sum, typename Z, typename U>
RetrievalWeight<Sum> retrieval_weight(MemoryRule rule, const std::vector<Sum>& phi, const Z* z, const U* segment) {
  const auto dim = static_cast<std::int64_t>(phi.size());
  const Sum c = dot<Sum>(phi.data(), z, dim);
  const Sum e = rule == MemoryRule::DeltaCorrected ? dot<Sum>(phi.data(), segment, dim) : Sum{0};
  const Sum largest = c >= e ? c : e;
  return {reciprocal_or_zero(largest), c, c >= e};
}

}  // namespace rondo::reference

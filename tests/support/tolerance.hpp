// SPDX-License-Identifier: Apache-2.0
// The tolerance rule for every fast kernel: error(kernel) <= 2 error(plain) + output rounding, both errors relative to fp64. It
// applies to the largest error and to the root mean square, so that it detects one wrong element as well as a bias.
#pragma once

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>

#include "tests/support/tensor.hpp"

namespace rondo::test {

/// Half the distance from 1 to the next number: the relative error of one rounding to nearest.
inline double unit_roundoff(DType type) {
  switch (type) {
    case DType::Fp64: return 0x1p-53;
    case DType::Fp32: return 0x1p-24;
    case DType::Bf16: return 0x1p-8;
    case DType::Int32:
    case DType::Int64: break;
  }
  return 0;
}

struct ErrorNorms {
  double largest = 0, mean_square = 0;
};

/// Norms of x - exact; equal elements, infinities included, do not differ. A NaN makes both norms NaN.
inline ErrorNorms error_of(const Tensor& x, const Tensor& exact) {
  ensure(x.shape() == exact.shape(), "tensors that are compared have one shape");
  ErrorNorms norms;
  for (std::int64_t i = 0; i < x.count(); ++i) {
    const double error = x[i] == exact[i] ? 0 : std::abs(x[i] - exact[i]);
    norms.largest = std::isnan(error) ? error : std::max(norms.largest, error);
    norms.mean_square += error * error;
    if (std::isnan(error)) break;
  }
  norms.mean_square = std::sqrt(norms.mean_square / static_cast<double>(std::max<std::int64_t>(x.count(), 1)));
  return norms;
}

/// @param result of the fast kernel
/// @param plain  of the reference backend in the same precision on the same inputs
/// @param exact  of the reference backend in fp64 on the same (rounded) inputs
inline testing::AssertionResult within_tolerance(const Tensor& result, const Tensor& plain, const Tensor& exact) {
  const ErrorNorms error = error_of(result, exact), allowed = error_of(plain, exact);
  ErrorNorms size;
  for (std::int64_t i = 0; i < exact.count(); ++i) {
    if (!std::isfinite(exact[i])) continue;
    size.largest = std::max(size.largest, std::abs(exact[i]));
    size.mean_square += exact[i] * exact[i];
  }
  size.mean_square = std::sqrt(size.mean_square / static_cast<double>(std::max<std::int64_t>(exact.count(), 1)));
  const double rounding = unit_roundoff(result.dtype());
  const bool fits = error.largest <= 2 * allowed.largest + rounding * size.largest &&
                    error.mean_square <= 2 * allowed.mean_square + rounding * size.mean_square;
  if (fits) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "error " << error.largest << " (rms " << error.mean_square
                                     << "), plain version " << allowed.largest << " (rms " << allowed.mean_square
                                     << "), values up to " << size.largest << " (rms " << size.mean_square << ")";
}

}  // namespace rondo::test

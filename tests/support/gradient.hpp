// SPDX-License-Identifier: Apache-2.0
// Gradients against central differences in fp64: chosen entries and random directions.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <gtest/gtest.h>
#include <string_view>
#include <vector>

#include "tests/support/tensor.hpp"

namespace rondo::test {

struct GradientCheck {
  std::int64_t entries = 20;  ///< at most so many entries are checked one by one
  int directions = 3;         ///< how many random directions
  double step = 1e-4;         ///< of the five-point rule: truncation step^4, rounding 1e-16 / step, both near 1e-13
  double relative = 1e-6;     ///< of the larger of the value and the typical entry
};

/// d objective / d step along one direction of a tensor, by the five-point rule; the tensor keeps its values.
inline double difference_along(const std::function<double()>& objective, Tensor& input,
                               const std::function<double(std::int64_t)>& direction, double step) {
  const std::vector<double> saved = input.values();
  const auto objective_at = [&](double distance) {
    for (std::int64_t i = 0; i < input.count(); ++i) {
      input.set(i, saved[static_cast<std::size_t>(i)] + distance * direction(i));
    }
    return objective();
  };
  const double near = objective_at(step) - objective_at(-step);
  const double far = objective_at(2 * step) - objective_at(-2 * step);
  for (std::int64_t i = 0; i < input.count(); ++i) input.set(i, saved[static_cast<std::size_t>(i)]);
  return (8 * near - far) / (12 * step);
}

/// Expects `gradient` to be the gradient of objective() with respect to `input`, which objective() reads.
/// @pre all fp64
inline void expect_gradient(std::string_view name, const std::function<double()>& objective, Tensor& input,
                            const Tensor& gradient, const GradientCheck& rule = {}) {
  ASSERT_EQ(input.shape(), gradient.shape()) << name;
  ASSERT_EQ(input.dtype(), DType::Fp64) << name;
  const std::int64_t count = input.count();
  const double typical = std::sqrt(dot(gradient, gradient) / static_cast<double>(std::max<std::int64_t>(count, 1)));
  const std::int64_t checked = std::min(rule.entries, count);
  for (std::int64_t nth = 0; nth < checked; ++nth) {
    const std::int64_t entry = nth * count / checked;
    const double difference = difference_along(
        objective, input, [&](std::int64_t i) { return i == entry ? 1.0 : 0.0; }, rule.step);
    EXPECT_NEAR(gradient[entry], difference, rule.relative * std::max(std::abs(difference), typical))
        << name << " entry " << entry;
  }
  for (int nth = 0; nth < rule.directions; ++nth) {
    const Tensor direction = Tensor::random(DType::Fp64, input.shape(), 1000 + static_cast<std::uint64_t>(nth));
    const double step = rule.step / std::sqrt(dot(direction, direction));
    const double difference = difference_along(
        objective, input, [&](std::int64_t i) { return direction[i]; }, step);
    const double scale = typical * std::sqrt(dot(direction, direction));
    EXPECT_NEAR(dot(gradient, direction), difference, rule.relative * std::max(std::abs(difference), scale))
        << name << " direction " << nth;
  }
}

}  // namespace rondo::test

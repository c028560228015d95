// SPDX-License-Identifier: Apache-2.0
// Tensors for benchmarks on any device: filled with random numbers, and compared on the host.
#pragma once

#include <string>
#include <vector>

#include "runtime/execution.hpp"

namespace rondo::bench {

/// Fills with normally distributed numbers, which depend only on the seed; about a million are drawn, and repeated in larger
/// tensors.
void fill_random(Execution& execution, const TensorView& view, std::uint64_t seed, double deviation = 1);

/// Copies the elements to the host. Waits for the compute stream.
std::vector<double> values_of(Execution& execution, const TensorView& view);

/// max |result - exact| <= 2 max |plain - exact| + output rounding: the tolerance rule of docs/numerics.md, for a benchmark.
/// @param dtype  of the result  @returns "right", or what is wrong
std::string check_against(const std::vector<double>& result, const std::vector<double>& plain,
                          const std::vector<double>& exact, DType dtype);

}  // namespace rondo::bench

// SPDX-License-Identifier: Apache-2.0
// Tensors of any device as the benchmarks need them: filled with random numbers, and compared on the host.
#pragma once

#include <string>
#include <vector>

#include "runtime/execution.hpp"

namespace rondo::bench {

/// Normal numbers, which depend on the seed alone; so many megabytes are drawn and repeated in larger tensors.
void fill_random(Execution& execution, const TensorView& view, std::uint64_t seed, double deviation = 1);

/// The elements as the host reads them. Waits for the compute stream.
std::vector<double> values_of(Execution& execution, const TensorView& view);

/// max |result - exact| <= 2 max |plain - exact| + output rounding: the tolerance rule of docs/numerics.md, for a benchmark.
/// @param dtype that of the result  @returns "right", or what is wrong
std::string check_against(const std::vector<double>& result, const std::vector<double>& plain,
                          const std::vector<double>& exact, DType dtype);

}  // namespace rondo::bench

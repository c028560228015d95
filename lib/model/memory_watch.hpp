// SPDX-License-Identifier: Apache-2.0
// What memories and their gates are like: for records, where a memory that overflows, starves or is never asked shows first.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <vector>

#include "model/parameter_set.hpp"

namespace rondo {

/// Looks on during forward passes. Each look waits for the device, so it is for evaluations, not for every step.
class MemoryWatch {
 public:
  explicit MemoryWatch(std::int64_t layers) : norms_(static_cast<std::size_t>(layers)) {}

  /// @param normaliser  [N, T] accumulator type, 0 where nothing is read  @param m  [G, D, D] fp64 behind the span
  void look(Execution& execution, std::int64_t layer, const TensorView& normaliser, const TensorView& m);

  /// sigma(q) z, the smallest of this rank's that was divided by; infinity if none was.
  double smallest_normaliser() const { return smallest_normaliser_; }
  /// The largest Frobenius norm of a head's M behind any span, by layer; 0 where there is no memory.
  const std::vector<double>& norms() const { return norms_; }

 private:
  double smallest_normaliser_ = std::numeric_limits<double>::infinity();
  std::vector<double> norms_;
};

/// How many heads of layers with a memory take a share of [0, 0.1), [0.1, 0.2), ... [0.9, 1] from it. Waits for the device.
std::array<std::int64_t, 10> gate_histogram(Execution& execution, const ParameterSet& parameters);

}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
// Statistics of compressive memories and their gates, for records. They are the first sign of a memory that overflows, stays
// nearly empty or is never read.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <vector>

#include "model/attention_layer.hpp"
#include "model/parameter_set.hpp"

namespace rondo {

/// Observes the memories in forward passes. Each observation waits for the device: use it in evaluations, not in every step.
class MemoryWatch final : public AttentionObserver {
 public:
  explicit MemoryWatch(std::int64_t layers) : norms_(static_cast<std::size_t>(layers)) {}

  /// Records kReadNormaliser and kMemory, and ignores other names.
  void observe(Execution& execution, std::int64_t layer, std::string_view name, const TensorView& values) override;

  /// The smallest sigma(q) z that this rank divided by; infinity if there was none.
  double smallest_normaliser() const { return smallest_normaliser_; }
  /// By layer, the largest Frobenius norm of a head's M after any span; 0 in a layer without memory.
  const std::vector<double>& norms() const { return norms_; }

 private:
  void observe_read(Execution& execution, const TensorView& normaliser);
  void observe_memory(Execution& execution, std::int64_t layer, const TensorView& m);

  double smallest_normaliser_ = std::numeric_limits<double>::infinity();
  std::vector<double> norms_;
};

/// Histogram of the gates sigmoid(beta) of all heads with a memory, in ten bins of width 0.1 over [0, 1]. Waits for the device.
std::array<std::int64_t, 10> gate_histogram(Execution& execution, const ParameterSet& parameters);

}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
// Statistics of compressive memories and their gates, for records: a memory that overflows, starves or is never read shows there
// first.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <vector>

#include "model/attention_layer.hpp"
#include "model/parameter_set.hpp"

namespace rondo {

/// Observes the memories in forward passes. Each observation waits for the device, so it is for evaluations, not for every step.
class MemoryWatch final : public AttentionObserver {
 public:
  explicit MemoryWatch(std::int64_t layers) : norms_(static_cast<std::size_t>(layers)) {}

  /// Understands kReadNormaliser and kMemory.
  void observe(Execution& execution, std::int64_t layer, std::string_view name, const TensorView& values) override;

  /// sigma(q) z, the smallest of this rank's that was divided by; infinity if none was.
  double smallest_normaliser() const { return smallest_normaliser_; }
  /// The largest Frobenius norm of a head's M after any span, by layer; 0 where there is no memory.
  const std::vector<double>& norms() const { return norms_; }

 private:
  void observe_read(Execution& execution, const TensorView& normaliser);
  void observe_memory(Execution& execution, std::int64_t layer, const TensorView& m);

  double smallest_normaliser_ = std::numeric_limits<double>::infinity();
  std::vector<double> norms_;
};

/// How many heads of layers with a memory take a share of [0, 0.1), [0.1, 0.2), ... [0.9, 1] from it. Waits for the device.
std::array<std::int64_t, 10> gate_histogram(Execution& execution, const ParameterSet& parameters);

}  // namespace rondo

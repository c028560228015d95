// SPDX-License-Identifier: Apache-2.0
#include "model/memory_watch.hpp"

#include <algorithm>
#include <cmath>

#include "model/infini_attention.hpp"

namespace rondo {

namespace {

std::vector<double> on_host(Execution& e, const TensorView& view) {
  Arena::Scope scope(e.scratch);
  const TensorView wide = e.scratch.take(DType::Fp64, view.shape);
  e.backend.convert(e.compute, {view, wide});
  std::vector<double> values(static_cast<std::size_t>(view.count()));
  e.device.copy(e.compute, values.data(), wide.data, wide.size_bytes());
  e.device.synchronize(e.compute);
  return values;
}

}  // namespace

void MemoryWatch::observe(Execution& execution, std::int64_t layer, std::string_view name, const TensorView& values) {
  if (name == kReadNormaliser) observe_read(execution, values);
  if (name == kMemory) observe_memory(execution, layer, values);
}

void MemoryWatch::observe_read(Execution& execution, const TensorView& normaliser) {
  for (const double value : on_host(execution, normaliser)) {
    if (value > 0) smallest_normaliser_ = std::min(smallest_normaliser_, value);
  }
}

void MemoryWatch::observe_memory(Execution& execution, std::int64_t layer, const TensorView& m) {
  const std::vector<double> values = on_host(execution, m);
  const auto head = static_cast<std::size_t>(m.shape.row_count());
  double& largest = norms_[static_cast<std::size_t>(layer)];
  for (std::size_t first = 0; first < values.size(); first += head) {
    double square = 0;
    for (std::size_t i = 0; i < head; ++i) square += values[first + i] * values[first + i];
    largest = std::max(largest, std::sqrt(square));
  }
}

std::array<std::int64_t, 10> gate_histogram(Execution& execution, const ParameterSet& parameters) {
  std::array<std::int64_t, 10> counts{};
  for (const Parameter& parameter : parameters.parameters()) {
    if (!parameter.is_gate) continue;
    for (const double beta : on_host(execution, parameter.value)) {
      const double share = 1 / (1 + std::exp(-beta));
      ++counts[static_cast<std::size_t>(std::clamp(static_cast<int>(share * 10), 0, 9))];
    }
  }
  return counts;
}

}  // namespace rondo

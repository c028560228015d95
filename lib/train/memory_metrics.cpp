// SPDX-License-Identifier: Apache-2.0
#include "train/memory_metrics.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace rondo {

MemoryMetrics::MemoryMetrics(Runtime& runtime, Transformer& model, const ParameterSet& parameters,
                             const TransformerShape& shape)
    : runtime_(runtime), model_(model), parameters_(parameters) {
  for (std::int64_t layer = 0; layer < shape.layers && !watch_; ++layer) {
    if (shape.has_memory(layer)) watch_.emplace(shape.layers);
  }
  if (watch_) model_.watch(&*watch_);
}

MemoryMetrics::~MemoryMetrics() { model_.watch(nullptr); }

std::optional<MemoryStatistics> MemoryMetrics::statistics() const {
  if (!watch_) return std::nullopt;
  const Communicator& world = runtime_.world();
  MemoryStatistics statistics;
  statistics.gate_histogram = gate_histogram(runtime_.execution(), parameters_);
  for (const double mine : watch_->norms()) {
    const std::vector<double> norms = world.all_gather(mine);
    statistics.norms.push_back(*std::ranges::max_element(norms));
  }
  const std::vector<double> smallest = world.all_gather(watch_->smallest_normaliser());  // infinity: nothing read
  if (const double least = *std::ranges::min_element(smallest); std::isfinite(least)) {
    statistics.smallest_normaliser = least;
  }
  return statistics;
}

}  // namespace rondo

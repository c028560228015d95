// SPDX-License-Identifier: Apache-2.0
// Statistics of a model's compressive memories during an evaluation, for its line in metrics.jsonl.
#pragma once

#include <optional>

#include "io/metrics_record.hpp"
#include "model/memory_watch.hpp"
#include "model/transformer.hpp"
#include "runtime/runtime.hpp"

namespace rondo {

/// Collects statistics in all forward passes of a model during its lifetime; none for a model without memories.
class MemoryMetrics {
 public:
  /// All references must outlive this object.
  MemoryMetrics(Runtime& runtime, Transformer& model, const ParameterSet& parameters, const TransformerShape& shape);
  ~MemoryMetrics();
  MemoryMetrics(const MemoryMetrics&) = delete;
  MemoryMetrics& operator=(const MemoryMetrics&) = delete;

  /// The statistics over all ranks; nothing for a model without memories. Collective.
  std::optional<MemoryStatistics> statistics() const;

 private:
  Runtime& runtime_;
  Transformer& model_;
  const ParameterSet& parameters_;
  std::optional<MemoryWatch> watch_;  // none when no layer has a memory
};

}  // namespace rondo

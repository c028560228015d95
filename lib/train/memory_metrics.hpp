// SPDX-License-Identifier: Apache-2.0
// What the compressive memories of a model were like during an evaluation, for its line in metrics.jsonl.
#pragma once

#include <optional>

#include "io/metrics_record.hpp"
#include "model/memory_watch.hpp"
#include "model/transformer.hpp"
#include "runtime/runtime.hpp"

namespace rondo {

/// Collects statistics of a model's forward passes for as long as it exists; nothing for a model without memories.
class MemoryMetrics {
 public:
  /// All outlive this.
  MemoryMetrics(Runtime& runtime, Transformer& model, const ParameterSet& parameters, const TransformerShape& shape);
  ~MemoryMetrics();
  MemoryMetrics(const MemoryMetrics&) = delete;
  MemoryMetrics& operator=(const MemoryMetrics&) = delete;

  /// Over all ranks. Collective.
  std::optional<MemoryStatistics> statistics() const;

 private:
  Runtime& runtime_;
  Transformer& model_;
  const ParameterSet& parameters_;
  std::optional<MemoryWatch> watch_;  // none when no layer has a memory
};

}  // namespace rondo

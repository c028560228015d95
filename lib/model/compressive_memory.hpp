// SPDX-License-Identifier: Apache-2.0
// The compressive memory of a layer over a span that is spread over a ring: a parallel prefix scan. Each rank finds what its runs
// do to a state, the ranks compose that in order of positions (ExclusiveScan), and each rank reads the state before its runs.
// Backward is the same scan in reverse.
#pragma once

#include <optional>
#include <vector>

#include "model/exclusive_scan.hpp"
#include "model/infini_state.hpp"
#include "model/normaliser_scan.hpp"

namespace rondo {

/// What backward needs of forward: the state before each of this rank's runs and, for delta rules, what each of them takes away of
/// a state.
struct MemoryBefore {
  TensorView m;       // [own runs, G, D, D] fp64
  TensorView z;       // [own runs, G, D] fp64
  TensorView decays;  // [own runs, G, D, D] accumulator type; empty for the linear rule
};

/// Where the gradients of queries, keys and values before RoPE are added, in accumulator types.
struct MemoryTokenGradients {
  TensorView d_q;       // [T, N, D]
  TensorView d_k, d_v;  // [U, G, D]
};

inline bool has_decays(MemoryRule rule) { return rule != MemoryRule::Linear; }

/// Serves one pass over a span; its memory is scratch of the caller's scope. Between start() and finish() the caller does work of its
/// own, such as local attention, while states travel.
class CompressiveMemory {
 public:
  CompressiveMemory(Execution& execution, MemoryRule rule, const MemoryTokens& tokens, const MemoryBefore& before);

  /// Forward: starts the scan. @param initial  before the span  @param after  the span, overwritten by finish(). They may be one.
  void start(const MemoryState& initial, const MemoryState& after);
  /// Fills `before` and reads for all queries.
  void finish(const MemoryRead& read);
  /// Reads once more, from a `before` that is known.
  void read_again(const MemoryRead& read);

  /// Backward: starts the reverse scan, in which each run adds what its reads contribute to the gradient of M.
  /// @param d_state  the gradient of the state after the span; finish_backward() makes it that of the state before it
  void start_backward(const MemoryRead& read, const TensorView& d_read, const MemoryState& d_state);
  void finish_backward(const MemoryTokenGradients& gradients);

  /// Rounds of messages between a start and its finish: work before the first advance(), and between two of them, overlaps with
  /// one each.
  int num_micro_batches() const { return scan_->num_micro_batches(); }
  void advance();

 private:
  void run_forward(std::size_t own, const AffineMap& m, const MemoryRead& read);
  void run_backward(std::size_t own, const TensorView& d_m, const MemoryNormalisers& d_normalisers,
                    const MemoryTokenGradients& gradients);
  TensorView copy_of(const TensorView& state);

  Execution& execution_;
  MemoryRule rule_;
  MemoryTokens tokens_;
  MemoryBefore before_;
  Shape shape_;  // [G, D, D]
  NormaliserScan normalisers_;
  std::optional<ExclusiveScan> scan_;
  MemoryState after_;
  // set by start_backward()
  MemoryRead read_;
  TensorView d_read_;
  MemoryState d_state_;
};

}  // namespace rondo

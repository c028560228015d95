// SPDX-License-Identifier: Apache-2.0
// The compressive memory of a layer over a span that is sharded over a ring: a parallel prefix scan. Each rank computes the
// update that its runs make to a state, the ranks compose these updates in order of positions (ExclusiveScan), and each rank
// reads the state before its runs. Backward is the same scan in reverse.
#pragma once

#include <optional>
#include <vector>

#include "model/exclusive_scan.hpp"
#include "model/infini_state.hpp"
#include "model/normaliser_scan.hpp"

namespace rondo {

/// What backward needs from forward: the state before each of this rank's runs and, for delta rules, the part of a state that
/// each run removes.
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

/// Serves one pass over a span; its memory is scratch of the caller's scope. Between start() and finish() the caller computes,
/// for instance local attention, while states are sent.
class CompressiveMemory {
 public:
  CompressiveMemory(Execution& execution, MemoryRule rule, const MemoryTokens& tokens, const MemoryBefore& before);

  /// Forward: starts the scan. @param initial  the state before the span  @param after  the state after it, overwritten by
  /// finish(). They may be the same.
  void start(const MemoryState& initial, const MemoryState& after);
  /// Fills `before` and reads the memory for all queries.
  void finish(const MemoryRead& read);
  /// Repeats the reads of forward, given `before`.
  void read_again(const MemoryRead& read);

  /// Backward: starts the reverse scan, in which each run adds what its reads contribute to the gradient of M.
  /// @param d_state  the gradient of the state after the span; finish_backward() makes it that of the state before it
  void start_backward(const MemoryRead& read, const TensorView& d_read, const MemoryState& d_state);
  void finish_backward(const MemoryTokenGradients& gradients);

  /// Communication rounds between a start and its finish. Work before the first advance(), and between two advances, overlaps
  /// with one round each.
  int num_rounds() const { return scan_->num_rounds(); }
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

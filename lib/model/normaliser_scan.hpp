// SPDX-License-Identifier: Apache-2.0
// The normaliser z of a compressive memory over the ranks of a ring: z before every segment, by which reads (equation 7) and
// the delta rules (equation 9) divide, and its gradient.
//
// Under the linear and the delta rule z grows by a sum that does not depend on z, which is an exclusive prefix scan. Under the
// corrected rule the sum depends on z, so z is sent from rank to rank in order, D numbers per key head.
#pragma once

#include <optional>
#include <vector>

#include "model/exclusive_scan.hpp"
#include "model/memory_chain.hpp"

namespace rondo {

/// Queries [T, N, D] of this rank, keys and values [U, G, D] of chain.keys(), all before RoPE.
struct MemoryTokens {
  const MemoryChain& chain;
  TensorView q, k, v;
};

/// Serves one pass over a span; its memory is scratch of the caller's scope.
class NormaliserScan {
 public:
  /// @param before  z before each of this rank's runs, [own runs, G, D] fp64: written by finish(), read by recompute()
  NormaliserScan(Execution& execution, MemoryRule rule, const MemoryTokens& tokens, const TensorView& before);

  /// z before every step of an own run.
  const MemoryNormalisers& of(std::size_t own) const { return normalisers_[own]; }

  /// @param initial  z before the span, [G, D], or empty: 0  @param after  z after the span, complete after finish(), or empty
  void start(const TensorView& initial, const TensorView& after);
  /// Completes a communication round and starts the next; does nothing if there is no scan.
  void advance();
  void finish();
  /// Computes of() from a known `before`, in place of start() and finish().
  void recompute();

  /// d_k [U, G, D] += ..., given the gradients of of() for each own run. d_z: in, the gradient of z after the span; out, of z
  /// before it; empty: not needed.
  void backward(const std::vector<MemoryNormalisers>& d_normalisers, const TensorView& d_z, const TensorView& d_k);

 private:
  void run_in_turn(const TensorView& initial);
  void run(std::size_t own, const TensorView& z);
  void backward_of_sums(const TensorView& d_z);
  void backward_in_turn(const TensorView& d_z);
  void run_backward(std::size_t own, const TensorView& d_z, const TensorView& d_k);
  void send_to_next(std::size_t own, ScanDirection direction, const TensorView& state);
  void receive_from_previous(std::size_t own, ScanDirection direction, const TensorView& state);
  TensorView take_zeros(const Shape& shape);

  Execution& execution_;
  MemoryRule rule_;
  const MemoryTokens& tokens_;
  Shape shape_;  // [G, D]
  TensorView before_, after_;
  std::vector<MemoryNormalisers> normalisers_;
  std::optional<ExclusiveScan> scan_;
  // set by backward()
  const std::vector<MemoryNormalisers>* d_normalisers_ = nullptr;
  TensorView d_k_;
};

/// The slice [G, ...] of one run in [own runs, G, ...].
TensorView row_of(const TensorView& all, std::size_t own);

}  // namespace rondo

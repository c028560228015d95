// SPDX-License-Identifier: Apache-2.0
// Exact attention over a sequence that is spread over a ring of ranks (Ring Attention, arXiv 2310.01889):
// queries stay, key/value shares go round while blocks are computed. No parameters, no position embedding: q,
// k, v in, carry out.
#pragma once

#include "kernels/attention.hpp"
#include "model/span.hpp"
#include "runtime/execution.hpp"

namespace rondo {

/// Keys and values of one share, or their gradients.
struct KeyValue {
  TensorView k;  // [T, G, D]
  TensorView v;  // [T, G, D]
};

class RingAttention {
 public:
  /// @param scale of the scores, 1/sqrt(D) in the model
  RingAttention(Execution& execution, double scale)
      : execution_(execution), scale_(scale), slots_(execution.device, MemoryUse::KeyValueSlots) {}

  /// carry <- attention of q to the keys of all ranks. On entry the carry is empty, see empty_carry().
  /// q [T,N,D], own [T,G,D] each. At most two remote shares live on this rank.
  void forward(const Span& span, const TensorView& q, const KeyValue& own, const SoftmaxCarry& carry);

  /// d_q += ..., d_own += ... (accumulator types), given the final carry and the gradient of its output
  /// [T,N,D].
  void backward(const Span& span, const TensorView& q, const KeyValue& own, const SoftmaxCarry& carry,
                const TensorView& d_out, const TensorView& d_q, const KeyValue& d_own);

  /// Sets a carry to (0, -inf).
  static void empty_carry(Execution& execution, const SoftmaxCarry& carry);

 private:
  Execution& execution_;
  double scale_;
  Arena slots_;  // key/value shares of other ranks and their gradients
};

}  // namespace rondo

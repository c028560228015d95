// SPDX-License-Identifier: Apache-2.0
// Exact attention over a sequence that is sharded over a ring of ranks (Ring Attention, arXiv 2310.01889): queries stay on
// their rank, key/value shards travel round the ring while blocks are computed. There are no parameters and no position
// embedding: q, k, v in, carry out.
#pragma once

#include "kernels/attention.hpp"
#include "model/kv_exchange.hpp"
#include "model/span.hpp"
#include "runtime/execution.hpp"

namespace rondo {

/// The arguments of backward besides q, k and v: the final carry of forward, the gradient of its output, and the sinks for the
/// gradients of this rank's q, k and v (accumulator types).
struct AttentionBackward {
  SoftmaxCarry carry;
  TensorView d_out;  // [T, N, D]
  TensorView d_q;    // [T, N, D]
  KeyValue d_own;    // [T, G, D]
};

class RingAttention {
 public:
  /// @param scale of the scores, 1/sqrt(D) in the model
  RingAttention(Execution& execution, double scale)
      : execution_(execution), scale_(scale), slots_(execution.device, MemoryUse::KeyValueSlots) {}

  /// carry <- attention of q [T,N,D] to the keys of all ranks; `own` is this rank's shard. On entry the carry is empty, see
  /// empty_carry(). At most two remote shards are in memory at a time.
  void forward(const Span& span, const TensorView& q, const KeyValue& own, const SoftmaxCarry& carry);
  /// d_q += ..., d_own += ...
  void backward(const Span& span, const TensorView& q, const KeyValue& own, const AttentionBackward& grad);

  /// Sets a carry to (0, -inf).
  static void empty_carry(Execution& execution, const SoftmaxCarry& carry);

 private:
  Execution& execution_;
  double scale_;
  Arena slots_;  // key/value shards of other ranks and their gradients
};

}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
#include "model/ring_attention.hpp"

#include <limits>

#include "core/trace.hpp"

namespace rondo {

void RingAttention::forward(const Span& span, const TensorView& q, const KeyValue& own, const SoftmaxCarry& carry) {
  TraceScope trace("ring_attention.forward");
  auto& [device, backend, compute, scratch, ring] = execution_;
  Arena::Scope scope(slots_);
  const RingSchedule& schedule = span.schedule();
  KvSlots kv(execution_, slots_, span.layout(), schedule, own);
  for (const Hop& hop : schedule.hops()) {
    Pending next_shard = kv.rotate(hop);
    if (hop.work) {
      // carry <- carry (+) softmax(scale q k_hop^T) v_hop, while the next shard arrives
      const auto [k, v] = kv.current(hop);
      backend.block_attention_forward(
          compute, {q, k, v, span.runs(), span.layout().runs(hop.shard), span.mask(), scale_, carry, scratch});
    }
    next_shard.wait(compute);
    kv.swap();
  }
}

void RingAttention::backward(const Span& span, const TensorView& q, const KeyValue& own,
                             const AttentionBackward& grad) {
  TraceScope trace("ring_attention.backward");
  auto& [device, backend, compute, scratch, ring] = execution_;
  const auto& [carry, d_out, d_q, d_own] = grad;
  Arena::Scope scope(slots_), delta_scope(scratch);
  // delta = rowsum(out * d_out): with the final log-sum-exp all that a block needs from the other blocks
  const TensorView delta = scratch.take(carry.lse.dtype, carry.lse.shape);  // [N, T]
  backend.attention_delta(compute, {carry.out, d_out, delta});
  const RingSchedule& schedule = span.schedule();
  KvSlots kv(execution_, slots_, span.layout(), schedule, own);
  TravellingGradients gradients(execution_, slots_, span.layout(), schedule, d_own);
  for (const Hop& hop : schedule.hops()) {
    Pending next_shard = kv.rotate(hop);
    Pending partial_sums = gradients.rotate(hop);
    if (hop.work) {
      // d_q += dS k_hop scale, d_k_hop += dS^T q scale, d_v_hop += P^T d_out, with dS = P * (d_out v_hop^T - delta)
      const auto [k, v] = kv.current(hop);
      const auto [d_k, d_v] = gradients.sink(hop);
      backend.block_attention_backward(
          compute, {q, k, v, d_out, carry.lse, delta, span.runs(), span.layout().runs(hop.shard), span.mask(), scale_,
                    d_q, d_k, d_v, scratch, carry.out});
    }
    next_shard.wait(compute);
    partial_sums.wait(compute);
    gradients.accumulate(hop);
    kv.swap();
  }
  Pending last = gradients.rotate(schedule.last_gradients());
  last.wait(compute);
  gradients.accumulate(schedule.last_gradients());
}

void RingAttention::empty_carry(Execution& e, const SoftmaxCarry& carry) {
  e.device.fill_zero(e.compute, carry.out.data, carry.out.size_bytes());
  e.device.fill(e.compute, carry.lse, -std::numeric_limits<double>::infinity());
}

}  // namespace rondo

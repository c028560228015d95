// SPDX-License-Identifier: Apache-2.0
#include "model/ring_attention.hpp"

#include <array>
#include <limits>
#include <utility>
#include <vector>

#include "core/trace.hpp"

namespace rondo {

namespace {

KeyValue rows_of(const KeyValue& slot, std::int64_t count) { return {slot.k.rows(0, count), slot.v.rows(0, count)}; }

KeyValue take_slot(Arena& scratch, DType dtype, const Shape& shape) {
  return {scratch.take(dtype, shape), scratch.take(dtype, shape)};
}

// Room for the share of any rank.
Shape slot_shape(const Span& span, const TensorView& k) { return {span.layout().max_tokens(), k.shape[1], k.shape[2]}; }

Pending exchange(Execution& e, int to, const KeyValue& outgoing, int from, const KeyValue& incoming, int home_from = -1,
                 const KeyValue& home = {}) {
  std::array<Message, 2> sends;
  std::array<Message, 4> receives;
  std::size_t num_sends = 0, num_receives = 0;
  const auto list = [](auto& messages, std::size_t& count, int peer, const KeyValue& slot) {
    if (peer == Hop::kNobody) return;
    messages[count++] = {peer, slot.k};
    messages[count++] = {peer, slot.v};
  };
  list(sends, num_sends, to, outgoing);
  list(receives, num_receives, from, incoming);
  list(receives, num_receives, home_from, home);
  return e.ring.transport.send_recv(e.compute, {sends.data(), num_sends}, {receives.data(), num_receives});
}

// The two places where key/value shares of other ranks live: one is computed with while the next arrives in
// the other.
class KvSlots {
 public:
  KvSlots(Execution& execution, Arena& memory, const Span& span, const KeyValue& own)
      : execution_(execution), layout_(span.layout()), own_(own) {
    if (span.schedule().hops().size() < 2) return;
    for (KeyValue& slot : slots_) slot = take_slot(memory, own.k.dtype, slot_shape(span, own.k));
  }

  /// The share of this hop: this rank's own on hop 0.
  KeyValue current(const Hop& hop) const {
    return hop.distance == 0 ? own_ : rows_of(slots_[current_], layout_.num_tokens(hop.share));
  }
  /// Sends this hop's share on and receives the next one, while the caller computes.
  Pending rotate(const Hop& hop, const Hop* next) {
    if (next == nullptr) return {};
    const KeyValue outgoing = hop.send_to == Hop::kNobody ? KeyValue{} : current(hop);
    const KeyValue incoming =
        hop.receive_from == Hop::kNobody ? KeyValue{} : rows_of(slots_[1 - current_], layout_.num_tokens(next->share));
    return exchange(execution_, hop.send_to, outgoing, hop.receive_from, incoming);
  }
  void swap() { current_ = 1 - current_; }

 private:
  Execution& execution_;
  const SequenceLayout& layout_;
  KeyValue own_;
  std::array<KeyValue, 2> slots_;
  std::size_t current_ = 0;
};

// Gradients of remote shares on their way: each hop adds its contribution to the partial sum that arrives,
// and the sum moves on, or home, while the next hop is computed.
class TravellingGradients {
 public:
  TravellingGradients(Execution& execution, Arena& memory, const Span& span, const KeyValue& d_own)
      : execution_(execution), layout_(span.layout()), d_own_(d_own) {
    if (span.schedule().hops().size() < 2) return;
    const Shape shape = slot_shape(span, d_own.k);
    for (KeyValue& slot : sums_) slot = take_slot(memory, d_own.k.dtype, shape);
    contribution_ = take_slot(memory, d_own.k.dtype, shape);
    returned_ = take_slot(memory, d_own.k.dtype, d_own.k.shape);
  }

  Pending rotate(const Hop& hop) {
    const KeyValue outgoing =
        hop.send_gradient_to == Hop::kNobody ? KeyValue{} : sized(sums_[1 - current_], hop.gradient_share);
    const KeyValue incoming =
        hop.receive_gradient_from == Hop::kNobody ? KeyValue{} : sized(sums_[current_], hop.share);
    return exchange(execution_, hop.send_gradient_to, outgoing, hop.receive_gradient_from, incoming,
                    hop.receive_home_from, returned_);
  }
  /// Where the block kernel adds this hop's gradients: zeroed, or this rank's own sink on hop 0.
  KeyValue sink(const Hop& hop) {
    if (hop.distance == 0) return d_own_;
    const bool first = hop.receive_gradient_from == Hop::kNobody;
    const KeyValue slot = sized(first ? sums_[current_] : contribution_, hop.share);
    for (const TensorView& t : {slot.k, slot.v})
      execution_.device.fill_zero(execution_.compute, t.data, t.size_bytes());
    return slot;
  }
  /// Folds what was computed and what came home; call when the exchange of this hop has been waited for.
  void settle(const Hop& hop) {
    if (hop.work && hop.receive_gradient_from != Hop::kNobody) {
      add(sized(contribution_, hop.share), sized(sums_[current_], hop.share));
    }
    if (hop.receive_home_from != Hop::kNobody) add(returned_, d_own_);
    current_ = 1 - current_;
  }

 private:
  KeyValue sized(const KeyValue& slot, int share) const { return rows_of(slot, layout_.num_tokens(share)); }
  void add(const KeyValue& from, const KeyValue& to) {
    execution_.backend.add(execution_.compute, {from.k, to.k});
    execution_.backend.add(execution_.compute, {from.v, to.v});
  }

  Execution& execution_;
  const SequenceLayout& layout_;
  KeyValue d_own_, contribution_, returned_;
  std::array<KeyValue, 2> sums_;
  std::size_t current_ = 0;
};

const Hop* next_of(const std::vector<Hop>& hops, std::size_t index) {
  return index + 1 < hops.size() ? &hops[index + 1] : nullptr;
}

}  // namespace

void RingAttention::forward(const Span& span, const TensorView& q, const KeyValue& own, const SoftmaxCarry& carry) {
  TraceScope trace("ring_attention.forward");
  auto& [device, backend, compute, scratch, ring] = execution_;
  Arena::Scope scope(slots_);
  KvSlots kv(execution_, slots_, span, own);
  const std::vector<Hop>& hops = span.schedule().hops();
  for (std::size_t h = 0; h < hops.size(); ++h) {
    const Hop& hop = hops[h];
    Pending arrival = kv.rotate(hop, next_of(hops, h));
    if (hop.work) {
      // carry <- carry (+) softmax(scale q k_hop^T) v_hop, while the next share arrives
      const auto [k, v] = kv.current(hop);
      backend.block_attention_forward(
          compute, {q, k, v, span.runs(), span.layout().runs(hop.share), span.mask(), scale_, carry, scratch});
    }
    arrival.wait(compute);
    kv.swap();
  }
}

void RingAttention::backward(const Span& span, const TensorView& q, const KeyValue& own, const SoftmaxCarry& carry,
                             const TensorView& d_out, const TensorView& d_q, const KeyValue& d_own) {
  TraceScope trace("ring_attention.backward");
  auto& [device, backend, compute, scratch, ring] = execution_;
  Arena::Scope scope(slots_), delta_scope(scratch);
  // delta = rowsum(out * d_out): all that a block needs of the other blocks, beside the final log-sum-exp
  const TensorView delta = scratch.take(carry.lse.dtype, carry.lse.shape);  // [N, T]
  backend.attention_delta(compute, {carry.out, d_out, delta});
  KvSlots kv(execution_, slots_, span, own);
  TravellingGradients gradients(execution_, slots_, span, d_own);
  const std::vector<Hop>& hops = span.schedule().hops();
  for (std::size_t h = 0; h < hops.size(); ++h) {
    const Hop& hop = hops[h];
    Pending arrival = kv.rotate(hop, next_of(hops, h));
    Pending partial_sums = gradients.rotate(hop);
    if (hop.work) {
      // d_q += dS k_hop scale, d_k_hop += dS^T q scale, d_v_hop += P^T d_out, with dS = P * (d_out v_hop^T -
      // delta)
      const auto [k, v] = kv.current(hop);
      const auto [d_k, d_v] = gradients.sink(hop);
      backend.block_attention_backward(
          compute, {q, k, v, d_out, carry.lse, delta, span.runs(), span.layout().runs(hop.share), span.mask(), scale_,
                    d_q, d_k, d_v, scratch, carry.out});
    }
    arrival.wait(compute);
    partial_sums.wait(compute);
    gradients.settle(hop);
    kv.swap();
  }
  Pending last = gradients.rotate(span.schedule().homecoming());
  last.wait(compute);
  gradients.settle(span.schedule().homecoming());
}

void RingAttention::empty_carry(Execution& e, const SoftmaxCarry& carry) {
  e.device.fill_zero(e.compute, carry.out.data, carry.out.size_bytes());
  e.device.fill(e.compute, carry.lse, -std::numeric_limits<double>::infinity());
}

}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
#include "model/kv_exchange.hpp"

namespace rondo {

namespace {

KeyValue rows_of(const KeyValue& slot, std::int64_t count) { return {slot.k.rows(0, count), slot.v.rows(0, count)}; }

KeyValue take_slot(Arena& memory, DType dtype, const Shape& shape) {
  return {memory.take(dtype, shape), memory.take(dtype, shape)};
}

/// Large enough for the shard of any rank.
Shape slot_shape(const SequenceLayout& layout, const TensorView& k) {
  return {layout.max_tokens(), k.shape[1], k.shape[2]};
}

/// The sends, or the receives, of keys and values in one exchange.
class KeyValueMessages {
 public:
  void add(int peer, const KeyValue& slot) {
    if (peer == Hop::kNobody) return;
    messages_[count_++] = {peer, slot.k};
    messages_[count_++] = {peer, slot.v};
  }
  std::span<const Message> all() const { return {messages_.data(), count_}; }

 private:
  std::array<Message, 4> messages_;
  std::size_t count_ = 0;
};

}  // namespace

KvSlots::KvSlots(Execution& execution, Arena& memory, const SequenceLayout& layout, const RingSchedule& schedule,
                 const KeyValue& own)
    : execution_(execution), layout_(layout), own_(own) {
  if (schedule.hops().size() < 2) return;
  for (KeyValue& slot : slots_) slot = take_slot(memory, own.k.dtype, slot_shape(layout, own.k));
}

KeyValue KvSlots::current(const Hop& hop) const {
  return hop.distance == 0 ? own_ : rows_of(slots_[current_], layout_.num_tokens(hop.shard));
}

Pending KvSlots::rotate(const Hop& hop) {
  KeyValueMessages sends, receives;
  if (hop.send_to != Hop::kNobody) sends.add(hop.send_to, current(hop));
  if (hop.receive_from != Hop::kNobody) {
    receives.add(hop.receive_from, rows_of(slots_[1 - current_], layout_.num_tokens(hop.receive_shard)));
  }
  return execution_.ring.transport.send_recv(execution_.compute, sends.all(), receives.all());
}

TravellingGradients::TravellingGradients(Execution& execution, Arena& memory, const SequenceLayout& layout,
                                         const RingSchedule& schedule, const KeyValue& d_own)
    : execution_(execution), layout_(layout), d_own_(d_own) {
  if (schedule.hops().size() < 2) return;
  const Shape shape = slot_shape(layout, d_own.k);
  for (KeyValue& slot : sums_) slot = take_slot(memory, d_own.k.dtype, shape);
  contribution_ = take_slot(memory, d_own.k.dtype, shape);
  returned_ = take_slot(memory, d_own.k.dtype, d_own.k.shape);
}

Pending TravellingGradients::rotate(const Hop& hop) {
  KeyValueMessages sends, receives;
  if (hop.send_gradient_to != Hop::kNobody) {
    sends.add(hop.send_gradient_to, sized(sums_[1 - current_], hop.gradient_shard));
  }
  if (hop.receive_gradient_from != Hop::kNobody) {
    receives.add(hop.receive_gradient_from, sized(sums_[current_], hop.shard));
  }
  receives.add(hop.receive_own_gradient_from, returned_);
  return execution_.ring.transport.send_recv(execution_.compute, sends.all(), receives.all());
}

KeyValue TravellingGradients::sink(const Hop& hop) {
  if (hop.distance == 0) return d_own_;
  const bool is_first = hop.receive_gradient_from == Hop::kNobody;
  const KeyValue slot = sized(is_first ? sums_[current_] : contribution_, hop.shard);
  for (const TensorView& t : {slot.k, slot.v}) execution_.device.fill_zero(execution_.compute, t.data, t.size_bytes());
  return slot;
}

void TravellingGradients::accumulate(const Hop& hop) {
  if (hop.work && hop.receive_gradient_from != Hop::kNobody) {
    add(sized(contribution_, hop.shard), sized(sums_[current_], hop.shard));
  }
  if (hop.receive_own_gradient_from != Hop::kNobody) add(returned_, d_own_);
  current_ = 1 - current_;
}

KeyValue TravellingGradients::sized(const KeyValue& slot, int shard) const {
  return rows_of(slot, layout_.num_tokens(shard));
}

void TravellingGradients::add(const KeyValue& from, const KeyValue& to) {
  execution_.backend.add(execution_.compute, {from.k, to.k});
  execution_.backend.add(execution_.compute, {from.v, to.v});
}

}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
#include "model/exclusive_scan.hpp"

#include <algorithm>
#include <utility>

#include "core/trace.hpp"

namespace rondo {

ExclusiveScan::ExclusiveScan(Execution& execution, const std::vector<ScanElement>& elements, ScanDirection direction,
                             ScanMap map, const Shape& state)
    : execution_(execution), elements_(elements), direction_(direction) {
  const auto take = [&] {
    AffineMap taken{execution.scratch.take(DType::Fp64, state), {}};
    if (map == ScanMap::Affine) taken.decay = execution.scratch.take(DType::Fp64, state);
    return taken;
  };
  for (std::size_t i = 0; i < elements.size(); ++i) {
    const std::size_t place = direction == ScanDirection::Forward ? i : elements.size() - 1 - i;
    if (elements[i].rank == execution.ring.rank()) own_.push_back({place, take(), take()});
  }
  list_rounds();
}

// A pure function of the elements: every rank computes the same rounds.
void ExclusiveScan::list_rounds() {
  const std::size_t places = elements_.size();
  std::vector<bool> receives(places), is_constant(places);
  for (std::size_t place = 0; place < places; ++place) {
    receives[place] = place > 0;
    // round 0 sends the map of the place itself; at the first place it includes the initial state
    is_constant[place] = place == 0 || at(place).is_reset;
  }
  if (places > 1) rounds_.push_back({1, receives, is_constant});
  // after round 0 each place holds the map of the place before it, the first place the initial state
  is_constant.insert(is_constant.begin(), true);
  is_constant.pop_back();
  for (std::size_t distance = 1; std::ranges::find(is_constant, false) != is_constant.end(); distance *= 2) {
    for (std::size_t place = 0; place < places; ++place) receives[place] = !is_constant[place];
    rounds_.push_back({distance, receives, is_constant});
    for (std::size_t place = places; place-- > 0;) {
      if (receives[place]) is_constant[place] = is_constant[place - distance];
    }
  }
}

void ExclusiveScan::start(const TensorView& initial) {
  auto& [device, backend, compute, scratch, ring] = execution_;
  if (Own* first = own_at(0)) {
    const TensorView &before = first->held.added, &after = first->sent.added;
    if (initial) {
      device.copy(compute, before.data, initial.data, initial.size_bytes());
    } else {
      device.fill_zero(compute, before.data, before.size_bytes());
    }
    if (initial && !at(0).is_reset && !rounds_.empty()) {
      Arena::Scope scope(scratch);
      const TensorView state = scratch.take(DType::Fp64, before.shape);
      device.copy(compute, state.data, initial.data, initial.size_bytes());
      backend.memory_fold(compute, {.state = state,
                                    .decay = first->sent.decay,
                                    .added = after,
                                    .is_transposed = direction_ == ScanDirection::Reverse});
      device.copy(compute, after.data, state.data, state.size_bytes());
    }
  }
  if (!rounds_.empty()) start_round(rounds_[0]);
}

void ExclusiveScan::advance() {
  if (is_done()) return;
  TraceScope trace("exclusive_scan.round");
  const Round& arrived = rounds_[static_cast<std::size_t>(next_round_ - 1)];
  arrival_.wait(execution_.compute);
  for (Own& own : own_) {
    if (next_round_ > 1 && arrived.receives[own.place]) combine(own, arrived.is_constant[own.place - arrived.distance]);
  }
  if (next_round_ < num_rounds()) start_round(rounds_[static_cast<std::size_t>(next_round_)]);
  ++next_round_;
}

// Round 0 sends `sent` into the receiver's `held`; later rounds send `held` into the receiver's `sent`.
void ExclusiveScan::start_round(const Round& round) {
  const bool is_first = &round == &rounds_.front();
  std::vector<Message> sends, receives;
  for (std::size_t to = round.distance; to < elements_.size(); ++to) {
    if (!round.receives[to]) continue;
    const std::size_t from = to - round.distance;
    Own *sender = own_at(from), *receiver = own_at(to);
    if (sender == nullptr && receiver == nullptr) continue;
    const auto move = [&](TensorView AffineMap::*part) {
      const TensorView out = sender != nullptr ? (is_first ? sender->sent : sender->held).*part : TensorView{};
      const TensorView in = receiver != nullptr ? (is_first ? receiver->held : receiver->sent).*part : TensorView{};
      if (out && in) return execution_.device.copy(execution_.compute, in.data, out.data, out.size_bytes());
      if (out) sends.push_back({at(to).rank, out});
      if (in) receives.push_back({at(from).rank, in});
    };
    move(&AffineMap::added);
    if (!round.is_constant[from]) move(&AffineMap::decay);  // empty for sums
  }
  arrival_ = execution_.ring.transport.send_recv(execution_.compute, sends, receives);
}

// held <- held composed after the map received. With N = held and F = the map received, from further away:
// N F x = (1 - P_N) ((1 - P_F) x + A_F) + A_N, so A = (1 - P_N) A_F + A_N and P = (1 - P_N) P_F + P_N.
// For gradients the maps are transposed: A = (1 - P_N)^T A_F + A_N and P = (1 - P_F) P_N + P_F.
void ExclusiveScan::combine(Own& own, bool is_constant) {
  const bool is_reverse = direction_ == ScanDirection::Reverse;
  Backend& backend = execution_.backend;
  Stream& compute = execution_.compute;
  backend.memory_fold(
      compute,
      {.state = own.sent.added, .decay = own.held.decay, .added = own.held.added, .is_transposed = is_reverse});
  std::swap(own.sent.added, own.held.added);
  if (is_constant || !own.held.decay) return;
  if (is_reverse) {
    backend.memory_fold(compute, {.state = own.held.decay, .decay = own.sent.decay, .added = own.sent.decay});
    return;
  }
  backend.memory_fold(compute, {.state = own.sent.decay, .decay = own.held.decay, .added = own.held.decay});
  std::swap(own.sent.decay, own.held.decay);
}

ExclusiveScan::Own* ExclusiveScan::own_at(std::size_t place) {
  const auto own = std::ranges::find(own_, place, &Own::place);
  return own == own_.end() ? nullptr : &*own;
}

}  // namespace rondo

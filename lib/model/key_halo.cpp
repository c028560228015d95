// SPDX-License-Identifier: Apache-2.0
#include "model/key_halo.hpp"

#include <algorithm>

namespace rondo {

namespace {

KeyInterval intersection(const MemoryRun& run, const KeyInterval& positions) {
  return {std::max(run.tokens.global_first, positions.begin), std::min(run.tokens.global_last() + 1, positions.end)};
}

}  // namespace

// --- between ranks ---

KeyRows KeyHalo::receive(const KeyRows& own, const InfiniState* before) const {
  if (chain_.keys() == span_.runs() && chain_.transfers().empty()) return own;
  const KeyRows keys{with_room_for_halo(own.k), with_room_for_halo(own.k_rotated), with_room_for_halo(own.v)};
  if (const std::int64_t carried = chain_.num_carried_keys(); carried > 0) {
    const std::int64_t first = span_.layout().first_position();
    copy(before->rows({first - carried, first}), keys.rows(0, carried));
  }
  send_and_receive(keys);
  return keys;
}

void KeyHalo::send_and_receive(const KeyRows& keys) const {
  const int rank = execution_.ring.rank();
  std::vector<Message> sends, receives;
  for (const KeyTransfer& transfer : chain_.transfers()) {
    for (const TensorView& all : {keys.k, keys.v}) {
      if (transfer.from == rank) sends.push_back({transfer.to, rows_of(all, transfer)});
      if (transfer.to == rank) receives.push_back({transfer.from, rows_of(all, transfer)});
    }
  }
  execution_.ring.transport.send_recv(execution_.compute, sends, receives).wait(execution_.compute);
  for (const KeyTransfer& transfer : chain_.transfers()) {
    if (transfer.to == rank) rotate(rows_of(keys.k, transfer), rows_of(keys.k_rotated, transfer), transfer.first);
  }
}

void KeyHalo::send_gradients_back(const KeyRows& d_keys) const {
  auto& [device, backend, compute, scratch, ring] = execution_;
  Arena::Scope scope(scratch);
  std::vector<Message> sends, receives;
  std::vector<AddArgs> sums;
  for (const KeyTransfer& transfer : chain_.transfers()) {
    if (transfer.to == ring.rank()) {
      rotate_back(rows_of(d_keys.k_rotated, transfer), rows_of(d_keys.k, transfer), transfer.first);
    }
    for (const TensorView& all : {d_keys.k, d_keys.v}) {
      const TensorView rows = transfer.to == ring.rank() || transfer.from == ring.rank() ? rows_of(all, transfer) : all;
      if (transfer.to == ring.rank()) sends.push_back({transfer.from, rows});
      if (transfer.from != ring.rank()) continue;
      const TensorView received = scratch.take(rows.dtype, rows.shape);
      receives.push_back({transfer.to, received});
      sums.push_back({received, rows});
    }
  }
  ring.transport.send_recv(compute, sends, receives).wait(compute);
  for (const AddArgs& sum : sums) backend.add(compute, sum);
}

TensorView KeyHalo::rows_of(const TensorView& all, const KeyTransfer& transfer) const {
  return all.rows(index_of(chain_.keys(), transfer.first), transfer.count);
}

TensorView KeyHalo::with_room_for_halo(const TensorView& own) const {
  const TokenRuns& keys = chain_.keys();
  const TensorView all = execution_.scratch.take(own.dtype, {keys.num_tokens(), own.shape[1], own.shape[2]});
  for (const TokenRun& run : span_.runs()) {
    copy(own.rows(run.local_first, run.count), all.rows(index_of(keys, run.global_first), run.count));
  }
  return all;
}

TensorView KeyHalo::own_rows(const TensorView& all) const {
  const TokenRuns& keys = chain_.keys();
  if (keys == span_.runs()) return all;
  const TensorView own = execution_.scratch.take(all.dtype, {span_.num_tokens(), all.shape[1], all.shape[2]});
  for (const TokenRun& run : span_.runs()) {
    copy(all.rows(index_of(keys, run.global_first), run.count), own.rows(run.local_first, run.count));
  }
  return own;
}

// --- from span to span ---

void KeyHalo::carry_forward(const KeyRows& keys, const InfiniState* before, InfiniState& after) const {
  const Ring& ring = execution_.ring;
  const KeyInterval window = chain_.next_window();
  if (window.begin == window.end) return after.set_key_range(window);
  Arena::Scope scope(execution_.scratch);
  const KeyRows next = take_like(keys, window.end - window.begin);  // `after` may be `before`
  if (const std::int64_t old = span_.layout().first_position() - window.begin; old > 0) {
    copy(before->rows({window.begin, window.begin + old}), next.rows(0, old));
  }
  for (const MemoryRun& run : chain_.runs()) {
    const KeyInterval part = intersection(run, window);
    if (part.begin >= part.end) continue;
    const KeyRows to = next.rows(part.begin - window.begin, part.end - part.begin);
    if (run.rank == ring.rank()) copy(keys.rows(index_of(chain_.keys(), part.begin), part.end - part.begin), to);
    if (ring.size() == 1) continue;
    for (const TensorView& view : to.each()) ring.transport.broadcast(execution_.compute, view, run.rank);
  }
  after.set_key_range(window);
  copy(next, after.rows(window));
}

void KeyHalo::carry_backward(const KeyRows& d_keys, const InfiniState* before, InfiniState& d_state) const {
  auto& [device, backend, compute, scratch, ring] = execution_;
  Arena::Scope scope(scratch);
  const std::int64_t first = span_.layout().first_position();
  const KeyInterval after = d_state.key_range();
  for (const std::size_t own : chain_.mine()) {
    const KeyInterval part = intersection(chain_.runs()[own], after);
    if (part.begin >= part.end) continue;
    add(d_state.rows(part), d_keys.rows(index_of(chain_.keys(), part.begin), part.end - part.begin));
  }
  const KeyInterval window = before != nullptr ? before->key_range() : KeyInterval{};
  if (window.begin == window.end) return d_state.set_key_range(window);
  // the gradient of the rows carried into the span, summed over the ranks, plus that of the rows that stay in the window
  const KeyRows sums = take_like(d_keys, window.end - window.begin);
  for (const TensorView& view : sums.each()) device.fill_zero(compute, view.data, view.size_bytes());
  if (const std::int64_t carried = chain_.num_carried_keys(); carried > 0) {
    copy(d_keys.rows(0, carried), sums.rows(first - carried - window.begin, carried));
  }
  if (ring.size() > 1) {
    for (const TensorView& view : sums.each()) ring.transport.all_reduce(compute, view, scratch);
  }
  if (after.begin < first && after.begin < after.end) {
    const KeyInterval past{after.begin, first};
    add(d_state.rows(past), sums.rows(past.begin - window.begin, past.end - past.begin));
  }
  d_state.set_key_range(window);
  copy(sums, d_state.rows(window));
}

// --- rows ---

// Applies RoPE to keys alone, by passing them as the query heads of a qkv_split without key heads.
void KeyHalo::rotate(const TensorView& k, const TensorView& rotated, std::int64_t first_position) const {
  const std::int64_t rows = k.shape[0], G = k.shape[1], D = k.shape[2];
  const TensorView none{k.data, k.dtype, {rows, 0, D}};
  const TokenRuns positions = TokenRuns::contiguous(first_position, rows);
  execution_.backend.qkv_split_forward(
      execution_.compute, {k.reshaped({rows, G * D}), rotated, none, none, positions, inverse_frequencies_});
}

// d_k += RoPE^T d_rotated
void KeyHalo::rotate_back(const TensorView& d_rotated, const TensorView& d_k, std::int64_t first_position) const {
  auto& [device, backend, compute, scratch, ring] = execution_;
  Arena::Scope scope(scratch);
  const std::int64_t rows = d_k.shape[0], G = d_k.shape[1], D = d_k.shape[2];
  const TensorView none{d_k.data, d_k.dtype, {rows, 0, D}}, back = scratch.take(d_k.dtype, {rows, G * D});
  const TokenRuns positions = TokenRuns::contiguous(first_position, rows);
  backend.qkv_split_backward(compute, {d_rotated, none, none, back, positions, inverse_frequencies_});
  backend.add(compute, {back.reshaped(d_k.shape), d_k});
}

KeyRows KeyHalo::take_like(const KeyRows& keys, std::int64_t count) const {
  const auto take = [&] { return execution_.scratch.take(keys.k.dtype, {count, keys.k.shape[1], keys.k.shape[2]}); };
  return {take(), take(), take()};
}

void KeyHalo::copy(const TensorView& from, const TensorView& to) const {
  execution_.device.copy(execution_.compute, to.data, from.data, from.size_bytes());
}

void KeyHalo::copy(const KeyRows& from, const KeyRows& to) const {
  for (std::size_t i = 0; i < from.each().size(); ++i) copy(from.each()[i], to.each()[i]);
}

// to += from
void KeyHalo::add(const KeyRows& from, const KeyRows& to) const {
  for (std::size_t i = 0; i < from.each().size(); ++i) {
    execution_.backend.add(execution_.compute, {from.each()[i], to.each()[i]});
  }
}

}  // namespace rondo

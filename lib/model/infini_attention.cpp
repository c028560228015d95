// SPDX-License-Identifier: Apache-2.0
#include "model/infini_attention.hpp"

#include <algorithm>
#include <cmath>

#include "core/trace.hpp"
#include "model/ring_attention.hpp"

namespace rondo {

namespace {

constexpr Activation kOut{"attention_out", true}, kLse{"attention_lse", true};
// States are small and always kept: without them the scan over ranks would be done again.
constexpr Activation kMatrix{"memory_matrix"}, kNormaliser{"memory_normaliser"}, kDecay{"memory_decay"};

const std::vector<double> kNotTurned;  // no frequencies

TensorView rows_at(const MemoryChain& chain, const TensorView& all, const KeyTransfer& transfer) {
  return all.rows(index_of(chain.keys(), transfer.first), transfer.count);
}

KeyInterval intersection(const MemoryRun& run, const KeyInterval& positions) {
  return {std::max(run.tokens.global_first, positions.begin), std::min(run.tokens.global_last() + 1, positions.end)};
}

}  // namespace

InfiniAttention::InfiniAttention(Execution& execution, const TransformerShape& shape, DType compute)
    : execution_(execution),
      shape_(shape),
      compute_(compute),
      scale_(1.0 / std::sqrt(static_cast<double>(shape.head_dim))),
      inverse_frequencies_(rope_inverse_frequencies(shape)),
      memory_(execution, shape.segments.memory_rule) {}

const AttentionTape& InfiniAttention::forward(const AttentionInput& in, LayerState* state_after,
                                              const LayerActivations& kept) {
  TraceScope trace("infini_attention.forward");
  const Span& span = in.span;
  const auto* before = dynamic_cast<const InfiniState*>(in.before);
  auto* after = dynamic_cast<InfiniState*>(state_after);
  const std::int64_t T = span.num_tokens(), N = shape_.heads, G = shape_.kv_heads, D = shape_.head_dim;
  const DType sum = accumulator_of(compute_);
  const auto mine = static_cast<std::int64_t>(chain_of(span).mine().size());
  const auto runs = static_cast<std::int64_t>(chain_of(span).runs().size());
  Tape& tape = tape_;
  tape.carry = {kept.place(kOut, sum, {T, N, D}), kept.place(kLse, sum, {N, T})};
  tape.before.m = kept.place(kMatrix, DType::Fp64, {mine, G, D, D});
  tape.before.z = kept.place(kNormaliser, DType::Fp64, {mine, G, D});
  if (memory_.has_decays()) tape.before.decays = kept.place(kDecay, sum, {runs, G, D, D});
  tape.read = {execution_.scratch.take(sum, {T, N, D}), execution_.scratch.take(sum, {N, T})};
  tape.sight = split(span, in.qkv, before);
  {
    Arena::Scope scope(execution_.scratch);
    const MemoryTokens tokens = tokens_of(span, tape.sight);
    MemoryState behind = memory_of(after);
    if (observer_ != nullptr && !behind.m) {
      behind = {execution_.scratch.take(DType::Fp64, {G, D, D}), execution_.scratch.take(DType::Fp64, {G, D})};
    }
    CompressiveMemory::Scan scan = memory_.start(tokens, memory_of(before), tape.before, behind);
    attend(span, tape.sight, tape.carry);  // while the states of the runs travel
    memory_.finish(tokens, scan, memory_of(before), tape.before, tape.read, behind);
    if (observer_ != nullptr) {
      observer_->observe(execution_, kept.layer(), kReadNormaliser, tape.read.normaliser);
      observer_->observe(execution_, kept.layer(), kMemory, behind.m);
    }
    if (after != nullptr) carry_on(span, tape.sight, before, *after);
  }
  tape.heads_out = mix(in.weights, tape);
  return tape;
}

const AttentionTape& InfiniAttention::rematerialize(const AttentionInput& in, const LayerActivations& kept) {
  TraceScope trace("infini_attention.rematerialize");
  const std::int64_t T = in.span.num_tokens(), N = shape_.heads, D = shape_.head_dim;
  const DType sum = accumulator_of(compute_);
  const auto out = kept.fetch(kOut), lse = kept.fetch(kLse);
  if (!out || !lse) return forward(in, nullptr, kept);
  Tape& tape = tape_;
  tape.carry = {*out, *lse};
  tape.before.m = *kept.fetch(kMatrix);
  tape.before.z = *kept.fetch(kNormaliser);
  if (memory_.has_decays()) tape.before.decays = *kept.fetch(kDecay);
  tape.read = {execution_.scratch.take(sum, {T, N, D}), execution_.scratch.take(sum, {N, T})};
  tape.sight = split(in.span, in.qkv, dynamic_cast<const InfiniState*>(in.before));
  {
    Arena::Scope scope(execution_.scratch);
    memory_.read_again(tokens_of(in.span, tape.sight), tape.before, tape.read);
  }
  tape.heads_out = mix(in.weights, tape);
  return tape;
}

// heads_out = g read + (1 - g) local, in the compute type.
TensorView InfiniAttention::mix(const LayerWeights& w, const Tape& tape) {
  const TensorView& local = tape.carry.out;
  const TensorView out = execution_.scratch.take(compute_, local.shape);
  execution_.backend.memory_gate_forward(execution_.compute, {local, tape.read, w.memory_gate.value, out});
  return out.reshaped({local.shape[0], shape_.attention_columns()});
}

void InfiniAttention::backward(const AttentionInput& in, const AttentionTape& of_forward,
                               const AttentionGradients& gradients) {
  TraceScope trace("infini_attention.backward");
  auto& [device, backend, compute, scratch, ring] = execution_;
  Arena::Scope scope(scratch);
  const Span& span = in.span;
  const LayerWeights& w = in.weights;
  const auto& tape = dynamic_cast<const Tape&>(of_forward);
  const TensorView &d_out = gradients.d_out, &d_qkv = gradients.d_qkv;
  const auto* before = dynamic_cast<const InfiniState*>(in.before);
  auto* d_state = dynamic_cast<InfiniState*>(gradients.d_state);
  const DType sum = accumulator_of(compute_);
  const Sight& sight = tape.sight;
  const MemoryTokens tokens = tokens_of(span, sight);
  const TensorView d_local = scratch.take(compute_, d_out.shape), d_read = scratch.take(sum, d_out.shape);
  backend.memory_gate_backward(
      compute, {tape.carry.out, tape.read, w.memory_gate.value, d_out, d_local, d_read, w.memory_gate.gradient});
  CompressiveMemory::Scan scan = memory_.start_backward(tokens, tape.before, tape.read, d_read);

  const auto zeros = [&](const Shape& shape) {
    const TensorView view = scratch.take(sum, shape);
    device.fill_zero(compute, view.data, view.size_bytes());
    return view;
  };
  const Shape& keys = sight.keys.k.shape;
  const Sight d{zeros(sight.q.shape), zeros(sight.q.shape), {zeros(keys), zeros(keys), zeros(keys)}};
  const TensorView delta = scratch.take(sum, tape.carry.lse.shape);  // [N, T]
  backend.attention_delta(compute, {tape.carry.out, d_local, delta});
  backend.block_attention_backward(compute, {sight.q_turned, sight.keys.k_turned, sight.keys.v, d_local, tape.carry.lse,
                                             delta, span.runs(), chain_of(span).keys(), mask(span), scale_, d.q_turned,
                                             d.keys.k_turned, d.keys.v, scratch, tape.carry.out});
  memory_.finish_backward(tokens, scan, tape.before, tape.read, d_read, memory_of(d_state), d.q, d.keys.k, d.keys.v);
  if (d_state != nullptr) carry_back(span, d, before, *d_state);
  return_gradients(chain_of(span), d.keys);

  // d_qkv = split^T of what was turned and of what was not; values count once
  const TensorView turned = sum == d_qkv.dtype ? d_qkv : scratch.take(sum, d_qkv.shape);
  const TensorView not_turned = scratch.take(sum, d_qkv.shape);
  const TensorView d_v = own_of(span, d.keys.v), no_values = zeros(d_v.shape);
  backend.qkv_split_backward(
      compute, {d.q_turned, own_of(span, d.keys.k_turned), d_v, turned, span.runs(), inverse_frequencies_});
  backend.qkv_split_backward(compute, {d.q, own_of(span, d.keys.k), no_values, not_turned, span.runs(), kNotTurned});
  backend.add(compute, {not_turned, turned});
  if (sum != d_qkv.dtype) backend.convert(compute, {turned, d_qkv});
}

// --- keys of earlier ranks ---

Sight InfiniAttention::split(const Span& span, const TensorView& qkv, const InfiniState* before) {
  const std::int64_t T = span.num_tokens(), N = shape_.heads, G = shape_.kv_heads, D = shape_.head_dim;
  auto& [device, backend, compute, scratch, ring] = execution_;
  const auto take = [&](std::int64_t heads) { return scratch.take(compute_, {T, heads, D}); };
  Sight own{take(N), take(N), {take(G), take(G), take(G)}};
  backend.qkv_split_forward(compute, {qkv, own.q, own.keys.k, own.keys.v, span.runs(), kNotTurned});
  backend.qkv_split_forward(compute,
                            {qkv, own.q_turned, own.keys.k_turned, own.keys.v, span.runs(), inverse_frequencies_});
  const MemoryChain& chain = chain_of(span);
  if (chain.keys() == span.runs() && chain.transfers().empty()) return own;
  const Sight all{own.q,
                  own.q_turned,
                  {among_all(span, own.keys.k), among_all(span, own.keys.k_turned), among_all(span, own.keys.v)}};
  if (const std::int64_t carried = chain.num_carried_keys(); carried > 0) {
    const std::int64_t first = span.layout().first_position();
    copy(before->rows({first - carried, first}), all.keys.rows(0, carried));
  }
  exchange_keys(chain, all.keys);
  return all;
}

void InfiniAttention::carry_on(const Span& span, const Sight& sight, const InfiniState* before, InfiniState& after) {
  auto& [device, backend, compute, scratch, ring] = execution_;
  const MemoryChain& chain = chain_of(span);
  const KeyInterval next = chain.next_sight();
  const std::int64_t count = next.end - next.begin;
  if (count == 0) return after.set_key_range(next);
  Arena::Scope scope(scratch);
  const KeyRows keys = take_keys(count, compute_);  // `after` may be `before`
  if (const std::int64_t old = span.layout().first_position() - next.begin; old > 0) {
    copy(before->rows({next.begin, next.begin + old}), keys.rows(0, old));
  }
  for (const MemoryRun& run : chain.runs()) {
    const KeyInterval part = intersection(run, next);
    if (part.begin >= part.end) continue;
    const KeyRows to = keys.rows(part.begin - next.begin, part.end - part.begin);
    if (run.rank == ring.rank()) {
      copy(sight.keys.rows(index_of(chain.keys(), part.begin), part.end - part.begin), to);
    }
    if (ring.size() == 1) continue;
    for (const TensorView& view : to.each()) ring.transport.broadcast(compute, view, run.rank);
  }
  after.set_key_range(next);
  copy(keys, after.rows(next));
}

void InfiniAttention::carry_back(const Span& span, const Sight& d, const InfiniState* before, InfiniState& d_state) {
  auto& [device, backend, compute, scratch, ring] = execution_;
  Arena::Scope scope(scratch);
  const MemoryChain& chain = chain_of(span);
  const std::int64_t first = span.layout().first_position();
  const KeyInterval behind = d_state.key_range();
  for (const std::size_t mine : chain.mine()) {
    const KeyInterval part = intersection(chain.runs()[mine], behind);
    if (part.begin >= part.end) continue;
    add(d_state.rows(part), d.keys.rows(index_of(chain.keys(), part.begin), part.end - part.begin));
  }
  const KeyInterval sight = before != nullptr ? before->key_range() : KeyInterval{};
  if (sight.begin == sight.end) return d_state.set_key_range(sight);
  // each rank's share of the gradient of what was carried into the span, and what went by the span
  const KeyRows sums = take_keys(sight.end - sight.begin, accumulator_of(compute_));
  for (const TensorView& view : sums.each()) device.fill_zero(compute, view.data, view.size_bytes());
  if (const std::int64_t carried = chain.num_carried_keys(); carried > 0) {
    copy(d.keys.rows(0, carried), sums.rows(first - carried - sight.begin, carried));
  }
  if (ring.size() > 1) {
    for (const TensorView& view : sums.each()) ring.transport.all_reduce(compute, view, scratch);
  }
  if (behind.begin < first && behind.begin < behind.end) {
    const KeyInterval passed{behind.begin, first};
    add(d_state.rows(passed), sums.rows(passed.begin - sight.begin, passed.end - passed.begin));
  }
  d_state.set_key_range(sight);
  copy(sums, d_state.rows(sight));
}

void InfiniAttention::attend(const Span& span, const Sight& sight, const SoftmaxCarry& carry) {
  RingAttention::empty_carry(execution_, carry);
  execution_.backend.block_attention_forward(
      execution_.compute, {sight.q_turned, sight.keys.k_turned, sight.keys.v, span.runs(), chain_of(span).keys(),
                           mask(span), scale_, carry, execution_.scratch});
}

KeyRows InfiniAttention::take_keys(std::int64_t count, DType dtype) {
  const auto take = [&] { return execution_.scratch.take(dtype, {count, shape_.kv_heads, shape_.head_dim}); };
  return {take(), take(), take()};
}

void InfiniAttention::copy(const KeyRows& from, const KeyRows& to) {
  for (std::size_t i = 0; i < from.each().size(); ++i) {
    execution_.device.copy(execution_.compute, to.each()[i].data, from.each()[i].data, from.each()[i].size_bytes());
  }
}

void InfiniAttention::add(const KeyRows& from, const KeyRows& to) {
  for (std::size_t i = 0; i < from.each().size(); ++i)
    execution_.backend.add(execution_.compute, {from.each()[i], to.each()[i]});
}

TensorView InfiniAttention::among_all(const Span& span, const TensorView& own) {
  const TokenRuns& keys = chain_of(span).keys();
  const TensorView all = execution_.scratch.take(own.dtype, {keys.num_tokens(), own.shape[1], own.shape[2]});
  for (const TokenRun& run : span.runs()) {
    const TensorView from = own.rows(run.local_first, run.count);
    execution_.device.copy(execution_.compute, all.rows(index_of(keys, run.global_first), run.count).data, from.data,
                           from.size_bytes());
  }
  return all;
}

TensorView InfiniAttention::own_of(const Span& span, const TensorView& all) {
  const TokenRuns& keys = chain_of(span).keys();
  if (keys == span.runs()) return all;
  const TensorView own = execution_.scratch.take(all.dtype, {span.num_tokens(), all.shape[1], all.shape[2]});
  for (const TokenRun& run : span.runs()) {
    const TensorView to = own.rows(run.local_first, run.count);
    execution_.device.copy(execution_.compute, to.data, all.rows(index_of(keys, run.global_first), run.count).data,
                           to.size_bytes());
  }
  return own;
}

// Keys alone are rows of a product that has nothing but queries.
void InfiniAttention::turn(const TensorView& k, const TensorView& turned, std::int64_t first_position) {
  const std::int64_t rows = k.shape[0], G = k.shape[1], D = k.shape[2];
  const TensorView none{k.data, k.dtype, {rows, 0, D}};
  const TokenRuns positions = TokenRuns::contiguous(first_position, rows);
  execution_.backend.qkv_split_forward(
      execution_.compute, {k.reshaped({rows, G * D}), turned, none, none, positions, inverse_frequencies_});
}

void InfiniAttention::turn_back(const TensorView& d_turned, const TensorView& d_k, std::int64_t first_position) {
  auto& [device, backend, compute, scratch, ring] = execution_;
  Arena::Scope scope(scratch);
  const std::int64_t rows = d_k.shape[0], G = d_k.shape[1], D = d_k.shape[2];
  const TensorView none{d_k.data, d_k.dtype, {rows, 0, D}}, back = scratch.take(d_k.dtype, {rows, G * D});
  const TokenRuns positions = TokenRuns::contiguous(first_position, rows);
  backend.qkv_split_backward(compute, {d_turned, none, none, back, positions, inverse_frequencies_});
  backend.add(compute, {back.reshaped(d_k.shape), d_k});
}

void InfiniAttention::exchange_keys(const MemoryChain& chain, const KeyRows& keys) {
  const int me = execution_.ring.rank();
  std::vector<Message> sends, receives;
  for (const KeyTransfer& transfer : chain.transfers()) {
    for (const TensorView& all : {keys.k, keys.v}) {
      if (transfer.from == me) sends.push_back({transfer.to, rows_at(chain, all, transfer)});
      if (transfer.to == me) receives.push_back({transfer.from, rows_at(chain, all, transfer)});
    }
  }
  execution_.ring.transport.send_recv(execution_.compute, sends, receives).wait(execution_.compute);
  for (const KeyTransfer& transfer : chain.transfers()) {
    if (transfer.to != me) continue;
    turn(rows_at(chain, keys.k, transfer), rows_at(chain, keys.k_turned, transfer), transfer.first);
  }
}

void InfiniAttention::return_gradients(const MemoryChain& chain, const KeyRows& gradients) {
  auto& [device, backend, compute, scratch, ring] = execution_;
  Arena::Scope scope(scratch);
  std::vector<Message> sends, receives;
  std::vector<AddArgs> sums;
  for (const KeyTransfer& transfer : chain.transfers()) {
    if (transfer.to == ring.rank()) {
      turn_back(rows_at(chain, gradients.k_turned, transfer), rows_at(chain, gradients.k, transfer), transfer.first);
    }
    for (const TensorView& all : {gradients.k, gradients.v}) {
      if (transfer.to == ring.rank()) sends.push_back({transfer.from, rows_at(chain, all, transfer)});
      if (transfer.from != ring.rank()) continue;
      const TensorView mine = rows_at(chain, all, transfer);
      const TensorView arrived = scratch.take(mine.dtype, mine.shape);
      receives.push_back({transfer.to, arrived});
      sums.push_back({arrived, mine});
    }
  }
  ring.transport.send_recv(compute, sends, receives).wait(compute);
  for (const AddArgs& sum : sums) backend.add(compute, sum);
}

std::unique_ptr<LayerState> InfiniAttention::make_state(std::int64_t capacity_tokens) {
  return make_state_of(compute_, capacity_tokens);
}

std::unique_ptr<LayerState> InfiniAttention::make_state_gradient(std::int64_t capacity_tokens) {
  return make_state_of(accumulator_of(compute_), capacity_tokens);
}

std::unique_ptr<LayerState> InfiniAttention::make_state_of(DType dtype, std::int64_t capacity_tokens) {
  const auto& [segment_tokens, window_segments, rule, gate] = shape_.segments;
  const bool sees_all = window_segments >= capacity_tokens / segment_tokens;
  const std::int64_t in_sight = sees_all ? capacity_tokens : (window_segments + 1) * segment_tokens;
  auto state = std::make_unique<InfiniState>(execution_.device, dtype, shape_, in_sight);
  state->clear(execution_.device, execution_.compute);
  return state;
}

}  // namespace rondo

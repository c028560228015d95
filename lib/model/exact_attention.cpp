// SPDX-License-Identifier: Apache-2.0
#include "model/exact_attention.hpp"

#include <cmath>

#include "core/trace.hpp"

namespace rondo {

namespace {

// Turned keys and values of all tokens so far, positions 0 to num_tokens - 1.
class KeyValueCache final : public LayerState {
 public:
  KeyValueCache(Device& device, DType dtype, const Shape& shape)
      : k_(device, dtype, shape, MemoryUse::KeyValueSlots), v_(device, dtype, shape, MemoryUse::KeyValueSlots) {}

  void append(Device& device, Stream& stream, const KeyValue& fresh) {
    const std::int64_t first = num_tokens_, count = fresh.k.shape[0];
    see({0, first + count});
    device.copy(stream, k_.view().rows(first, count).data, fresh.k.data, fresh.k.size_bytes());
    device.copy(stream, v_.view().rows(first, count).data, fresh.v.data, fresh.v.size_bytes());
  }
  KeyValue all() const { return {k_.view().rows(0, num_tokens_), v_.view().rows(0, num_tokens_)}; }

  KeyInterval sight() const override { return {0, num_tokens_}; }
  std::int64_t capacity_tokens() const override { return k_.view().shape[0]; }
  void see(const KeyInterval& positions) override {
    if (positions.end > capacity_tokens()) {
      throw Error(ErrorKind::Internal, "the key/value cache holds " + std::to_string(capacity_tokens()) + " tokens");
    }
    num_tokens_ = positions.end;
  }
  std::vector<StatePart> parts() const override { return {{"turned_keys", all().k}, {"values", all().v}}; }
  std::int64_t size_bytes() const override { return static_cast<std::int64_t>(k_.size_bytes() + v_.size_bytes()); }
  void forget(Device&, Stream&) override {}  // it has no memory beside what it sees

 private:
  Buffer k_, v_;
  std::int64_t num_tokens_ = 0;
};

}  // namespace

ExactAttention::ExactAttention(Execution& execution, RingAttention& ring_attention, const TransformerShape& shape,
                               DType compute)
    : execution_(execution),
      ring_attention_(ring_attention),
      shape_(shape),
      compute_(compute),
      inverse_frequencies_(rope_inverse_frequencies(shape)) {}

ExactAttention::Turned ExactAttention::split(const TokenRuns& positions, const TensorView& qkv) {
  const std::int64_t T = positions.num_tokens(), N = shape_.heads, G = shape_.kv_heads, D = shape_.head_dim;
  Arena& scratch = execution_.scratch;
  const Turned turned{scratch.take(compute_, {T, N, D}),
                      {scratch.take(compute_, {T, G, D}), scratch.take(compute_, {T, G, D})}};
  execution_.backend.qkv_split_forward(execution_.compute,
                                       {qkv, turned.q, turned.kv.k, turned.kv.v, positions, inverse_frequencies_});
  return turned;
}

AttentionTape ExactAttention::forward(const Span& span, const LayerWeights&, const TensorView& qkv, StateFlow state,
                                      const LayerActivations& kept) {
  const std::int64_t T = span.num_tokens();
  const DType accumulator = accumulator_of(compute_);
  const SoftmaxCarry carry{kept.place(Activation::AttentionOut, accumulator, {T, shape_.heads, shape_.head_dim}),
                           kept.place(Activation::AttentionLse, accumulator, {shape_.heads, T})};
  RingAttention::empty_carry(execution_, carry);
  {
    Arena::Scope scope(execution_.scratch);
    if (state.after != nullptr) {
      ensure(state.before == state.after, "a key/value cache grows in its place");
      forward_cached(span, qkv, *state.after, carry);
    } else {
      const auto [q, kv] = split(span.runs(), qkv);
      ring_attention_.forward(span, q, kv, carry);
    }
  }
  return with_heads_out(carry);
}

AttentionTape ExactAttention::rematerialize(const Span& span, const LayerWeights& w, const TensorView& qkv,
                                            const LayerState* before, const LayerActivations& kept) {
  ensure(before == nullptr, "exact attention is trained in one span");
  const auto out = kept.fetch(Activation::AttentionOut), lse = kept.fetch(Activation::AttentionLse);
  if (!out || !lse) return forward(span, w, qkv, {}, kept);
  return with_heads_out({*out, *lse});
}

// The output in the compute type.
AttentionTape ExactAttention::with_heads_out(const SoftmaxCarry& carry) {
  const TensorView heads_out = execution_.scratch.take(compute_, {carry.out.shape[0], shape_.attention_columns()});
  execution_.backend.convert(execution_.compute, {carry.out.reshaped(heads_out.shape), heads_out});
  return {.carry = carry, .heads_out = heads_out, .sight = {}, .read = {}, .before = {}};
}

void ExactAttention::forward_cached(const Span& span, const TensorView& qkv, LayerState& state,
                                    const SoftmaxCarry& carry) {
  ensure(span.layout().ring() == 1, "a key/value cache lives on one rank");
  auto& cache = dynamic_cast<KeyValueCache&>(state);
  ensure(span.layout().first_position() == cache.sight().end, "the span follows what the cache holds");
  const auto [q, fresh] = split(span.runs(), qkv);
  cache.append(execution_.device, execution_.compute, fresh);
  const auto [k, v] = cache.all();
  execution_.backend.block_attention_forward(
      execution_.compute, {q, k, v, span.runs(), TokenRuns::contiguous(0, cache.sight().end), span.mask(),
                           1.0 / std::sqrt(static_cast<double>(shape_.head_dim)), carry, execution_.scratch});
}

void ExactAttention::backward(const Span& span, const LayerWeights&, const TensorView& qkv, const AttentionTape& tape,
                              const LayerState*, LayerState*, const TensorView& d_out, const TensorView& d_qkv) {
  auto& [device, backend, compute, scratch, ring] = execution_;
  Arena::Scope scope(scratch);
  const auto [q, kv] = split(span.runs(), qkv);
  const DType accumulator = accumulator_of(compute_);
  const TensorView d_q = scratch.take(accumulator, q.shape);                                          // [T, N, D]
  const KeyValue d_kv{scratch.take(accumulator, kv.k.shape), scratch.take(accumulator, kv.v.shape)};  // [T, G, D]
  for (const TensorView& sink : {d_q, d_kv.k, d_kv.v}) device.fill_zero(compute, sink.data, sink.size_bytes());
  ring_attention_.backward(span, q, kv, tape.carry, d_out, d_q, d_kv);
  backend.qkv_split_backward(compute, {d_q, d_kv.k, d_kv.v, d_qkv, span.runs(), inverse_frequencies_});
}

std::unique_ptr<LayerState> ExactAttention::make_state(std::int64_t capacity_tokens) {
  return std::make_unique<KeyValueCache>(execution_.device, compute_,
                                         Shape{capacity_tokens, shape_.kv_heads, shape_.head_dim});
}

}  // namespace rondo

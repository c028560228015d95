// SPDX-License-Identifier: Apache-2.0
#include "model/exact_attention.hpp"

#include <cmath>

#include "model/key_value_cache.hpp"

namespace rondo {

namespace {

constexpr Activation kOut{"attention_out", true}, kLse{"attention_lse", true};

}  // namespace

ExactAttention::ExactAttention(Execution& execution, const TransformerShape& shape, DType compute)
    : execution_(execution),
      shape_(shape),
      compute_(compute),
      scale_(1.0 / std::sqrt(static_cast<double>(shape.head_dim))),
      ring_attention_(execution, scale_),
      inverse_frequencies_(rope_inverse_frequencies(shape)) {}

// Splits qkv into queries, keys and values and applies RoPE to queries and keys.
ExactAttention::Rotated ExactAttention::split(const TokenRuns& positions, const TensorView& qkv) {
  const std::int64_t T = positions.num_tokens(), N = shape_.heads, G = shape_.kv_heads, D = shape_.head_dim;
  Arena& scratch = execution_.scratch;
  const Rotated rotated{scratch.take(compute_, {T, N, D}),
                        {scratch.take(compute_, {T, G, D}), scratch.take(compute_, {T, G, D})}};
  execution_.backend.qkv_split_forward(execution_.compute,
                                       {qkv, rotated.q, rotated.kv.k, rotated.kv.v, positions, inverse_frequencies_});
  return rotated;
}

const AttentionTape& ExactAttention::forward(const AttentionInput& in, LayerState* after,
                                             const LayerActivations& kept) {
  const std::int64_t T = in.span.num_tokens();
  const DType accumulator = accumulator_of(compute_);
  const SoftmaxCarry carry{kept.place(kOut, accumulator, {T, shape_.heads, shape_.head_dim}),
                           kept.place(kLse, accumulator, {shape_.heads, T})};
  RingAttention::empty_carry(execution_, carry);
  {
    Arena::Scope scope(execution_.scratch);
    if (after != nullptr) {
      ensure(in.before == after, "a key/value cache grows in its place");
      forward_cached(in, *after, carry);
    } else {
      const auto [q, kv] = split(in.span.runs(), in.qkv);
      ring_attention_.forward(in.span, q, kv, carry);
    }
  }
  return fill_tape(carry);
}

const AttentionTape& ExactAttention::rematerialize(const AttentionInput& in, const LayerActivations& kept) {
  ensure(in.before == nullptr, "exact attention is trained in one span");
  const auto out = kept.fetch(kOut), lse = kept.fetch(kLse);
  if (!out || !lse) return forward(in, nullptr, kept);
  return fill_tape({*out, *lse});
}

// Converts the output to the compute type.
const AttentionTape& ExactAttention::fill_tape(const SoftmaxCarry& carry) {
  tape_.carry = carry;
  tape_.heads_out = execution_.scratch.take(compute_, {carry.out.shape[0], shape_.attention_columns()});
  execution_.backend.convert(execution_.compute, {carry.out.reshaped(tape_.heads_out.shape), tape_.heads_out});
  return tape_;
}

void ExactAttention::forward_cached(const AttentionInput& in, LayerState& state, const SoftmaxCarry& carry) {
  const Span& span = in.span;
  ensure(span.layout().ring() == 1, "a key/value cache lives on one rank");
  auto& cache = dynamic_cast<KeyValueCache&>(state);
  ensure(span.layout().first_position() == cache.key_range().end, "the span follows what the cache holds");
  const auto [q, fresh] = split(span.runs(), in.qkv);
  cache.append(execution_.device, execution_.compute, fresh);
  const auto [k, v] = cache.all();
  execution_.backend.block_attention_forward(
      execution_.compute, {q, k, v, span.runs(), TokenRuns::contiguous(0, cache.key_range().end), span.mask(), scale_,
                           carry, execution_.scratch});
}

void ExactAttention::backward(const AttentionInput& in, const AttentionTape& tape, const AttentionGradients& grad) {
  auto& [device, backend, compute, scratch, ring] = execution_;
  Arena::Scope scope(scratch);
  const auto [q, kv] = split(in.span.runs(), in.qkv);
  const DType accumulator = accumulator_of(compute_);
  const TensorView d_q = scratch.take(accumulator, q.shape);                                          // [T, N, D]
  const KeyValue d_kv{scratch.take(accumulator, kv.k.shape), scratch.take(accumulator, kv.v.shape)};  // [T, G, D]
  for (const TensorView& sink : {d_q, d_kv.k, d_kv.v}) device.fill_zero(compute, sink.data, sink.size_bytes());
  const SoftmaxCarry& carry = dynamic_cast<const Tape&>(tape).carry;
  ring_attention_.backward(in.span, q, kv, {carry, grad.d_out, d_q, d_kv});
  backend.qkv_split_backward(compute, {d_q, d_kv.k, d_kv.v, grad.d_qkv, in.span.runs(), inverse_frequencies_});
}

std::unique_ptr<LayerState> ExactAttention::make_state(std::int64_t capacity_tokens) {
  return std::make_unique<KeyValueCache>(execution_.device, compute_,
                                         Shape{capacity_tokens, shape_.kv_heads, shape_.head_dim});
}

}  // namespace rondo

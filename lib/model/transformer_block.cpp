// SPDX-License-Identifier: Apache-2.0
#include "model/transformer_block.hpp"

#include "core/trace.hpp"

namespace rondo {

void TransformerBlock::forward(const Span& span, const ParameterSet& parameters, const TensorView& x, LayerState* state,
                               Activations* activations) {
  TraceScope trace("transformer_block.forward");
  auto& [device, backend, stream, scratch, ring] = execution_;
  const std::int64_t T = span.num_tokens();
  const LayerWeights w = parameters.acquire(layer_);
  {
    Arena::Scope scope(scratch);
    SoftmaxCarry carry = take_carry(T, x.dtype);
    if (activations != nullptr) {
      const auto input = activations->keep(layer_, Activation::Input, x.dtype, x.shape);
      device.copy(stream, input->data, x.data, x.size_bytes());
      carry.out =
          activations->keep(layer_, Activation::AttentionOut, carry.out.dtype, carry.out.shape).value_or(carry.out);
      carry.lse =
          activations->keep(layer_, Activation::AttentionLse, carry.lse.dtype, carry.lse.shape).value_or(carry.lse);
    }
    const TensorView normed = scratch.take(x.dtype, x.shape);                 // [T, C]
    const TensorView qkv = scratch.take(x.dtype, {T, shape_.qkv_columns()});  // [T, (N+2G)*D]
    project_in(w, x, normed, qkv);
    attention_.forward(span, qkv, state, carry);
    add_attention(w, carry, x);
  }
  feed_forward_.forward(w, x);
  parameters.release(layer_);
}

void TransformerBlock::backward(const Span& span, const ParameterSet& parameters, const TensorView& d_x,
                                const Activations& activations) {
  TraceScope trace("transformer_block.backward");
  auto& [device, backend, stream, scratch, ring] = execution_;
  const LayerWeights w = parameters.acquire(layer_);
  Arena::Scope scope(scratch);
  const Rematerialized r = rematerialize(span, w, activations);
  feed_forward_.backward(w, r.middle, d_x);

  // middle = x + heads_out W_o^T:  dW_o += d_x^T heads_out, d_heads_out = d_x W_o
  const TensorView d_heads_out = scratch.take(d_x.dtype, r.heads_out.shape);  // [T, N*D]
  backend.matmul(
      stream,
      {.a = d_x, .b = r.heads_out, .c = w.attention_out.gradient, .transpose_a = Transpose::Yes, .accumulate = true});
  backend.matmul(stream, {.a = d_x, .b = w.attention_out.value, .c = d_heads_out});
  const TensorView d_qkv = scratch.take(d_x.dtype, r.qkv.shape);  // [T, (N+2G)*D]
  attention_.backward(span, r.qkv, r.carry, d_heads_out.reshaped(r.carry.out.shape), d_qkv);

  // qkv = normed W_qkv^T:  dW_qkv += d_qkv^T normed, d_normed = d_qkv W_qkv
  const TensorView d_normed = scratch.take(d_x.dtype, r.normed.shape);  // [T, C]
  backend.matmul(stream,
                 {.a = d_qkv, .b = r.normed, .c = w.qkv.gradient, .transpose_a = Transpose::Yes, .accumulate = true});
  backend.matmul(stream, {.a = d_qkv, .b = w.qkv.value, .c = d_normed});
  // the residual's gradient is in d_x already
  backend.rms_norm_backward(
      stream, {d_normed, r.x, w.attention_norm.value, d_x, w.attention_norm.gradient, shape_.norm_epsilon, scratch});
  parameters.release(layer_);
}

TransformerBlock::Rematerialized TransformerBlock::rematerialize(const Span& span, const LayerWeights& w,
                                                                 const Activations& activations) {
  auto& [device, backend, stream, scratch, ring] = execution_;
  Rematerialized r;
  r.x = *activations.fetch(layer_, Activation::Input);
  r.normed = scratch.take(r.x.dtype, r.x.shape);
  r.qkv = scratch.take(r.x.dtype, {r.x.shape[0], shape_.qkv_columns()});
  project_in(w, r.x, r.normed, r.qkv);
  const auto out = activations.fetch(layer_, Activation::AttentionOut);
  const auto lse = activations.fetch(layer_, Activation::AttentionLse);
  if (out && lse) {
    r.carry = {*out, *lse};
  } else {
    r.carry = take_carry(span.num_tokens(), r.x.dtype);
    attention_.forward(span, r.qkv, nullptr, r.carry);
  }
  r.middle = scratch.take(r.x.dtype, r.x.shape);
  device.copy(stream, r.middle.data, r.x.data, r.x.size_bytes());
  r.heads_out = add_attention(w, r.carry, r.middle);
  return r;
}

void TransformerBlock::project_in(const LayerWeights& w, const TensorView& x, const TensorView& normed,
                                  const TensorView& qkv) {
  execution_.backend.rms_norm_forward(execution_.compute, {x, w.attention_norm.value, normed, shape_.norm_epsilon});
  execution_.backend.matmul(execution_.compute,
                            {.a = normed, .b = w.qkv.value, .c = qkv, .transpose_b = Transpose::Yes});
}

// x += carry.out W_o^T; returns carry.out in the compute type.
TensorView TransformerBlock::add_attention(const LayerWeights& w, const SoftmaxCarry& carry, const TensorView& x) {
  const std::int64_t T = x.shape[0];
  const TensorView heads_out = execution_.scratch.take(x.dtype, {T, shape_.attention_columns()});
  execution_.backend.convert(execution_.compute, {carry.out.reshaped(heads_out.shape), heads_out});
  execution_.backend.matmul(
      execution_.compute,
      {.a = heads_out, .b = w.attention_out.value, .c = x, .transpose_b = Transpose::Yes, .accumulate = true});
  return heads_out;
}

SoftmaxCarry TransformerBlock::take_carry(std::int64_t num_tokens, DType compute) {
  const DType accumulator = accumulator_of(compute);
  return {execution_.scratch.take(accumulator, {num_tokens, shape_.heads, shape_.head_dim}),
          execution_.scratch.take(accumulator, {shape_.heads, num_tokens})};
}

}  // namespace rondo

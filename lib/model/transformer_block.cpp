// SPDX-License-Identifier: Apache-2.0
#include "model/transformer_block.hpp"

#include "core/trace.hpp"

namespace rondo {

namespace {

constexpr Activation kInput{"input"};

}  // namespace

void TransformerBlock::forward(const Span& span, const ParameterSet& parameters, const TensorView& x,
                               SequenceFlow state, Activations* activations) {
  TraceScope trace("transformer_block.forward");
  auto& [device, backend, stream, scratch, ring] = execution_;
  const std::int64_t T = span.num_tokens();
  const LayerWeights w = parameters.acquire(layer_);
  {
    Arena::Scope scope(scratch);
    if (activations != nullptr) {
      const auto input = activations->keep(layer_, kInput, x.dtype, x.shape);
      device.copy(stream, input->data, x.data, x.size_bytes());
    }
    const TensorView normed = scratch.take(x.dtype, x.shape);                 // [T, C]
    const TensorView qkv = scratch.take(x.dtype, {T, shape_.qkv_columns()});  // [T, (N+2G)*D]
    project_in(w, x, normed, qkv);
    const LayerActivations kept(activations, layer_, scratch);
    add_attention(w, attention_.forward({span, w, qkv, of(state.before)}, of(state.after), kept), x);
  }
  feed_forward_.forward(w, x);
  parameters.release(layer_);
}

void TransformerBlock::backward(const Span& span, const ParameterSet& parameters, const TensorView& d_x,
                                SequenceGradient state, Activations& activations) {
  TraceScope trace("transformer_block.backward");
  auto& [device, backend, stream, scratch, ring] = execution_;
  const LayerWeights w = parameters.acquire(layer_);
  Arena::Scope scope(scratch);
  const Rematerialized r = rematerialize(span, w, of(state.before), activations);
  feed_forward_.backward(w, r.middle, d_x);

  // middle = x + heads_out W_o^T:  dW_o += d_x^T heads_out, d_heads_out = d_x W_o
  const TensorView& heads_out = r.attention->heads_out;
  const TensorView d_heads_out = scratch.take(d_x.dtype, heads_out.shape);  // [T, N*D]
  backend.matmul(
      stream,
      {.a = d_x, .b = heads_out, .c = w.attention_out.gradient, .transpose_a = Transpose::Yes, .accumulate = true});
  backend.matmul(stream, {.a = d_x, .b = w.attention_out.value, .c = d_heads_out});
  const TensorView d_qkv = scratch.take(d_x.dtype, r.qkv.shape);  // [T, (N+2G)*D]
  const TensorView d_out = d_heads_out.reshaped({span.num_tokens(), shape_.heads, shape_.head_dim});
  attention_.backward({span, w, r.qkv, of(state.before)}, *r.attention, {d_out, d_qkv, of(state.d_state)});

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
                                                                 const LayerState* before, Activations& activations) {
  auto& [device, backend, stream, scratch, ring] = execution_;
  Rematerialized r;
  r.x = *activations.fetch(layer_, kInput);
  r.normed = scratch.take(r.x.dtype, r.x.shape);
  r.qkv = scratch.take(r.x.dtype, {r.x.shape[0], shape_.qkv_columns()});
  project_in(w, r.x, r.normed, r.qkv);
  const LayerActivations kept(&activations, layer_, scratch);
  r.attention = &attention_.rematerialize({span, w, r.qkv, before}, kept);
  r.middle = scratch.take(r.x.dtype, r.x.shape);
  device.copy(stream, r.middle.data, r.x.data, r.x.size_bytes());
  add_attention(w, *r.attention, r.middle);
  return r;
}

void TransformerBlock::project_in(const LayerWeights& w, const TensorView& x, const TensorView& normed,
                                  const TensorView& qkv) {
  execution_.backend.rms_norm_forward(execution_.compute, {x, w.attention_norm.value, normed, shape_.norm_epsilon});
  execution_.backend.matmul(execution_.compute,
                            {.a = normed, .b = w.qkv.value, .c = qkv, .transpose_b = Transpose::Yes});
}

// x += heads_out W_o^T
void TransformerBlock::add_attention(const LayerWeights& w, const AttentionTape& tape, const TensorView& x) {
  execution_.backend.matmul(
      execution_.compute,
      {.a = tape.heads_out, .b = w.attention_out.value, .c = x, .transpose_b = Transpose::Yes, .accumulate = true});
}

}  // namespace rondo

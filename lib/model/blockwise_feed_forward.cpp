// SPDX-License-Identifier: Apache-2.0
#include "model/blockwise_feed_forward.hpp"

#include "core/trace.hpp"

namespace rondo {

BlockwiseFeedForward::Chunk BlockwiseFeedForward::compute(const LayerWeights& w, const TensorView& x) {
  auto& [device, backend, stream, scratch, ring] = execution_;
  const std::int64_t T = x.shape[0], C = shape_.d_model, F = shape_.d_ff;
  const Chunk chunk{scratch.take(x.dtype, {T, C}), scratch.take(x.dtype, {T, 2 * F}), scratch.take(x.dtype, {T, F})};
  backend.rms_norm_forward(stream, {x, w.ffn_norm.value, chunk.normed, shape_.norm_epsilon});
  backend.matmul(stream, {.a = chunk.normed, .b = w.gate_up.value, .c = chunk.gate_up, .transpose_b = Transpose::Yes});
  backend.swiglu_forward(stream, {chunk.gate_up, chunk.a});
  return chunk;
}

void BlockwiseFeedForward::forward(const LayerWeights& w, const TensorView& x) {
  TraceScope trace("blockwise_feed_forward.forward");
  for_each_chunk(x.shape[0], shape_.ffn_chunk_tokens, [&](std::int64_t first, std::int64_t count) {
    Arena::Scope scope(execution_.scratch);
    const TensorView xc = x.rows(first, count);  // [Tc, C]
    const Chunk chunk = compute(w, xc);
    // x += a W_down^T
    execution_.backend.matmul(
        execution_.compute,
        {.a = chunk.a, .b = w.down.value, .c = xc, .transpose_b = Transpose::Yes, .accumulate = true});
  });
}

void BlockwiseFeedForward::backward(const LayerWeights& w, const TensorView& x, const TensorView& d_x) {
  TraceScope trace("blockwise_feed_forward.backward");
  auto& [device, backend, stream, scratch, ring] = execution_;
  for_each_chunk(x.shape[0], shape_.ffn_chunk_tokens, [&](std::int64_t first, std::int64_t count) {
    Arena::Scope scope(scratch);
    const TensorView xc = x.rows(first, count), d_xc = d_x.rows(first, count);  // [Tc, C]
    const Chunk chunk = compute(w, xc);
    const TensorView d_a = scratch.take(x.dtype, chunk.a.shape);              // [Tc, F]
    const TensorView d_gate_up = scratch.take(x.dtype, chunk.gate_up.shape);  // [Tc, 2F]
    const TensorView d_normed = scratch.take(x.dtype, chunk.normed.shape);    // [Tc, C]
    // dW_down += d_x^T a, d_a = d_x W_down
    backend.matmul(stream,
                   {.a = d_xc, .b = chunk.a, .c = w.down.gradient, .transpose_a = Transpose::Yes, .accumulate = true});
    backend.matmul(stream, {.a = d_xc, .b = w.down.value, .c = d_a});
    backend.swiglu_backward(stream, {chunk.gate_up, d_a, d_gate_up});
    // dW_gate_up += d_gate_up^T normed, d_normed = d_gate_up W_gate_up
    backend.matmul(stream, {.a = d_gate_up,
                            .b = chunk.normed,
                            .c = w.gate_up.gradient,
                            .transpose_a = Transpose::Yes,
                            .accumulate = true});
    backend.matmul(stream, {.a = d_gate_up, .b = w.gate_up.value, .c = d_normed});
    // the residual's gradient is in d_x already
    backend.rms_norm_backward(
        stream, {d_normed, xc, w.ffn_norm.value, d_xc, w.ffn_norm.gradient, shape_.norm_epsilon, scratch});
  });
}

}  // namespace rondo

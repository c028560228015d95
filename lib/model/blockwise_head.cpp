// SPDX-License-Identifier: Apache-2.0
#include "model/blockwise_head.hpp"

#include "core/trace.hpp"
#include "model/blockwise_feed_forward.hpp"

namespace rondo {

void BlockwiseHead::losses(const OuterWeights& w, const TensorView& x, const TensorView& targets,
                           const TensorView& losses, const TensorView& d_x) {
  TraceScope trace("blockwise_head.losses");
  auto& [device, backend, stream, scratch, ring] = execution_;
  const bool with_gradient = static_cast<bool>(d_x);
  if (with_gradient) device.fill_zero(stream, d_x.data, d_x.size_bytes());
  for_each_chunk(x.shape[0], shape_.head_chunk_tokens, [&](std::int64_t first, std::int64_t count) {
    Arena::Scope scope(chunks_);
    const TensorView xc = x.rows(first, count);                                                   // [Tc, C]
    const TensorView normed = chunks_.take(x.dtype, xc.shape);                                    // [Tc, C]
    const TensorView logits = chunks_.take(accumulator_of(x.dtype), {count, shape_.vocabulary});  // [Tc, V]
    const TensorView d_logits = with_gradient ? chunks_.take(x.dtype, logits.shape) : TensorView{};
    backend.rms_norm_forward(stream, {xc, w.final_norm.value, normed, shape_.norm_epsilon});
    backend.matmul(stream, {.a = normed, .b = w.head.value, .c = logits, .transpose_b = Transpose::Yes});
    backend.cross_entropy(stream, {logits, targets.rows(first, count), losses.rows(first, count), d_logits, 1.0});
    if (!with_gradient) return;
    // dW += d_logits^T normed, d_normed = d_logits W
    const TensorView d_normed = chunks_.take(x.dtype, normed.shape);  // [Tc, C]
    backend.matmul(
        stream, {.a = d_logits, .b = normed, .c = w.head.gradient, .transpose_a = Transpose::Yes, .accumulate = true});
    backend.matmul(stream, {.a = d_logits, .b = w.head.value, .c = d_normed});
    backend.rms_norm_backward(stream, {d_normed, xc, w.final_norm.value, d_x.rows(first, count), w.final_norm.gradient,
                                       shape_.norm_epsilon, scratch});
  });
}

void BlockwiseHead::logits(const OuterWeights& w, const TensorView& x, const TensorView& logits) {
  Arena::Scope scope(chunks_);
  const TensorView normed = chunks_.take(x.dtype, x.shape);  // [T, C]
  execution_.backend.rms_norm_forward(execution_.compute, {x, w.final_norm.value, normed, shape_.norm_epsilon});
  execution_.backend.matmul(execution_.compute,
                            {.a = normed, .b = w.head.value, .c = logits, .transpose_b = Transpose::Yes});
}

}  // namespace rondo

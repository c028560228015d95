// SPDX-License-Identifier: Apache-2.0
// The one interface of attention layers: from packed projections to a carry, with a state that goes from span
// to span.
#pragma once

#include <memory>

#include "kernels/attention.hpp"
#include "model/span.hpp"

namespace rondo {

/// What a layer carries from one span of a sequence to the next: nothing in training with exact attention,
/// keys and values when generating.
class LayerState {
 public:
  virtual ~LayerState() = default;
};

class AttentionLayer {
 public:
  virtual ~AttentionLayer() = default;

  /// qkv [T, (N+2G)*D] -> carry.out [T, N, D] and carry.lse [N, T]. `state` may be null: nothing comes before
  /// the span.
  virtual void forward(const Span& span, const TensorView& qkv, LayerState* state, const SoftmaxCarry& carry) = 0;
  /// d_qkv = gradient (overwritten), given d_out [T, N, D] and the final carry of forward without state.
  virtual void backward(const Span& span, const TensorView& qkv, const SoftmaxCarry& carry, const TensorView& d_out,
                        const TensorView& d_qkv) = 0;
  /// @param capacity_tokens the most tokens that all spans together will have
  virtual std::unique_ptr<LayerState> make_state(std::int64_t capacity_tokens) = 0;
};

}  // namespace rondo

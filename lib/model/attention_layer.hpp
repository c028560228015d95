// SPDX-License-Identifier: Apache-2.0
// The one interface of attention layers: from packed projections to the heads' outputs, with a state that goes from span
// to span.
#pragma once

#include <memory>

#include "kernels/attention.hpp"
#include "model/activations.hpp"
#include "model/infini_state.hpp"
#include "model/parameter_set.hpp"
#include "model/span.hpp"

namespace rondo {

/// What forward leaves and backward needs.
struct AttentionTape {
  SoftmaxCarry carry;    // final, of the keys in sight
  TensorView heads_out;  // [T, N*D] compute type: what W_o multiplies
  // of a compressive memory; empty without one
  Sight sight;
  MemoryRead read;
  MemoryBefore before;
};

class AttentionLayer {
 public:
  virtual ~AttentionLayer() = default;

  /// qkv [T, (N+2G)*D] -> heads_out. The tape lies in `kept` and in scratch of the caller's scope.
  virtual AttentionTape forward(const Span& span, const LayerWeights& w, const TensorView& qkv, StateFlow state,
                                const LayerActivations& kept) = 0;
  /// The tape of forward, from what was kept.
  virtual AttentionTape rematerialize(const Span& span, const LayerWeights& w, const TensorView& qkv,
                                      const LayerState* before, const LayerActivations& kept) = 0;
  /// d_qkv = gradient (overwritten), given d_out [T, N, D]. d_state, the gradient of the state behind the span, becomes that
  /// of the state before it; null: no span follows and none comes before.
  virtual void backward(const Span& span, const LayerWeights& w, const TensorView& qkv, const AttentionTape& tape,
                        const LayerState* before, LayerState* d_state, const TensorView& d_out,
                        const TensorView& d_qkv) = 0;
  /// A state of nothing. @param capacity_tokens the most tokens that all spans together will have
  virtual std::unique_ptr<LayerState> make_state(std::int64_t capacity_tokens) = 0;
  /// A gradient of 0; null where training carries no state.
  virtual std::unique_ptr<LayerState> make_state_gradient(std::int64_t capacity_tokens) = 0;
};

}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
// The one interface of attention layers: from packed projections to the heads' outputs, with a state that goes from span to span.
// It knows no kind of attention. A new kind implements it and is entered in attention_factory.cpp.
#pragma once

#include <memory>
#include <string_view>

#include "model/activations.hpp"
#include "model/layer_state.hpp"
#include "model/parameter_set.hpp"
#include "model/span.hpp"

namespace rondo {

/// What every pass over a span is given.
struct AttentionInput {
  const Span& span;
  const LayerWeights& weights;
  TensorView qkv;                      // [T, (N+2G)*D]
  const LayerState* before = nullptr;  // the state before the span; null: nothing comes before it
};

/// What forward leaves for backward. Each layer derives its own; only `heads_out` is for others.
struct AttentionTape {
  AttentionTape() = default;
  virtual ~AttentionTape() = default;

  TensorView heads_out;  // [T, N*D] compute type: what W_o multiplies

 protected:
  AttentionTape(const AttentionTape&) = default;
  AttentionTape& operator=(const AttentionTape&) = default;
};

/// Gradients of a span's backward pass.
struct AttentionGradients {
  TensorView d_out;  // [T, N, D] of the heads' outputs
  TensorView d_qkv;  // [T, (N+2G)*D], overwritten
  LayerState* d_state =
      nullptr;  // of the state after the span, becomes that of the state before it; null: there is one span
};

/// Is shown tensors of a layer in forward passes, for records. Looking at values waits for the device.
class AttentionObserver {
 public:
  virtual ~AttentionObserver() = default;
  virtual void observe(Execution& execution, std::int64_t layer, std::string_view name, const TensorView& values) = 0;
};

class AttentionLayer {
 public:
  virtual ~AttentionLayer() = default;

  /// The tape's tensors are in `kept` and in scratch of the caller's scope; the tape itself is the layer's and valid until its
  /// next forward or rematerialize.
  /// @param after  becomes the state after the span; null: it is not needed. May be the state before the span.
  virtual const AttentionTape& forward(const AttentionInput& in, LayerState* after, const LayerActivations& kept) = 0;
  /// The tape of forward, from what was kept.
  virtual const AttentionTape& rematerialize(const AttentionInput& in, const LayerActivations& kept) = 0;
  virtual void backward(const AttentionInput& in, const AttentionTape& tape, const AttentionGradients& gradients) = 0;

  /// Which keys a query attends to exactly.
  virtual AttentionMaskView mask(const Span& span) const = 0;
  /// An empty state. @param capacity_tokens the most tokens that all spans together will have
  virtual std::unique_ptr<LayerState> make_state(std::int64_t capacity_tokens) = 0;
  /// A gradient of 0; null where training carries no state.
  virtual std::unique_ptr<LayerState> make_state_gradient(std::int64_t capacity_tokens) = 0;

  /// Shows it every forward pass from now on; null: no more.
  void set_observer(AttentionObserver* observer) { observer_ = observer; }

 protected:
  AttentionObserver* observer_ = nullptr;
};

}  // namespace rondo

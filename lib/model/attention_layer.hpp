// SPDX-License-Identifier: Apache-2.0
// The interface of all attention layers: from packed projections to the heads' outputs, with a recurrent state that is carried
// from span to span. It depends on no kind of attention; a new kind implements it and is added in attention_factory.cpp.
#pragma once

#include <memory>
#include <string_view>

#include "model/activations.hpp"
#include "model/layer_state.hpp"
#include "model/parameter_set.hpp"
#include "model/span.hpp"

namespace rondo {

/// The inputs of every pass over a span.
struct AttentionInput {
  const Span& span;
  const LayerWeights& weights;
  TensorView qkv;                      // [T, (N+2G)*D]
  const LayerState* before = nullptr;  // the state before the span; null: nothing comes before it
};

/// What forward keeps for backward. Each layer derives its own; its users read only `heads_out`.
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
      nullptr;  // in: of the state after the span; out: of the state before it; null: the sequence is one span
};

/// Receives tensors of a layer during forward passes, for records. Reading values waits for the device.
class AttentionObserver {
 public:
  virtual ~AttentionObserver() = default;
  virtual void observe(Execution& execution, std::int64_t layer, std::string_view name, const TensorView& values) = 0;
};

class AttentionLayer {
 public:
  virtual ~AttentionLayer() = default;

  /// The tape's tensors are in `kept` and in scratch of the caller's scope; the layer owns the tape, which is valid until its
  /// next forward or rematerialize.
  /// @param after  becomes the state after the span; null: it is not needed. May be the state before the span.
  virtual const AttentionTape& forward(const AttentionInput& in, LayerState* after, const LayerActivations& kept) = 0;
  /// Rebuilds the tape of forward from what was kept.
  virtual const AttentionTape& rematerialize(const AttentionInput& in, const LayerActivations& kept) = 0;
  virtual void backward(const AttentionInput& in, const AttentionTape& tape, const AttentionGradients& gradients) = 0;

  /// Which keys a query attends to exactly.
  virtual AttentionMaskView mask(const Span& span) const = 0;
  /// An empty state. @param capacity_tokens the most tokens that all spans of a sequence have together
  virtual std::unique_ptr<LayerState> make_state(std::int64_t capacity_tokens) = 0;
  /// The gradient of a state, set to 0; null if training carries no state in this layer.
  virtual std::unique_ptr<LayerState> make_state_gradient(std::int64_t capacity_tokens) = 0;

  /// Calls the observer in every forward pass from now on; null: none.
  void set_observer(AttentionObserver* observer) { observer_ = observer; }

 protected:
  AttentionObserver* observer_ = nullptr;
};

}  // namespace rondo

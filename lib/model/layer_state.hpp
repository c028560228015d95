// SPDX-License-Identifier: Apache-2.0
// The recurrent state that a model carries from one span of a sequence to the next.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/attention_mask.hpp"
#include "core/device.hpp"

namespace rondo {

/// A tensor of a state.
struct StatePart {
  std::string name;
  TensorView values;
};

/// The recurrent state of one attention layer. Infini-attention: memory, normaliser, and keys and values of the window. Exact
/// attention: the key/value cache, in generation only. Also used for the gradient of a state.
class LayerState {
 public:
  virtual ~LayerState() = default;

  /// The positions whose keys it holds.
  virtual KeyInterval key_range() const = 0;
  /// The most keys that fit.
  virtual std::int64_t capacity_tokens() const = 0;
  /// Re-targets the key storage to other positions; its contents become undefined.
  virtual void set_key_range(const KeyInterval& positions) = 0;
  /// All tensors of the state: the rows of its key range, and the tensors of fixed size.
  virtual std::vector<StatePart> parts() const = 0;
  /// The memory that it takes; independent of the key range.
  virtual std::int64_t size_bytes() const = 0;

  /// Resets it to the state before the first token; sets a gradient to 0.
  void clear(Device& device, Stream& stream);
  /// Empties a memory of older tokens and keeps the keys.
  virtual void reset_memory(Device& device, Stream& stream) = 0;
  /// @pre the other was made by the same layer, and its key range fits
  void copy_from(Device& device, Stream& stream, const LayerState& other);
};

/// The states of all layers, in order.
class SequenceState {
 public:
  explicit SequenceState(std::vector<std::unique_ptr<LayerState>> layers) : layers_(std::move(layers)) {}

  std::size_t num_layers() const { return layers_.size(); }
  LayerState* of(std::size_t layer) const { return layers_[layer].get(); }
  std::int64_t size_bytes() const;

  void clear(Device& device, Stream& stream);
  void reset_memory(Device& device, Stream& stream);
  /// @pre as for LayerState::copy_from, layer by layer
  void copy_from(Device& device, Stream& stream, const SequenceState& other);

 private:
  std::vector<std::unique_ptr<LayerState>> layers_;
};

/// The states before and after a span.
struct SequenceFlow {
  const SequenceState* before = nullptr;  // null: there is no earlier span
  SequenceState* after =
      nullptr;  // becomes the state after the span; null: it is not needed. May be the state before it.
};

/// The states of a span's backward pass.
struct SequenceGradient {
  const SequenceState* before = nullptr;  // null: there is no earlier span
  SequenceState* d_state = nullptr;       // as in AttentionGradients
};

}  // namespace rondo

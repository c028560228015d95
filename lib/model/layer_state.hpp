// SPDX-License-Identifier: Apache-2.0
// What a model carries from one span of a sequence to the next.
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

/// Of one layer: a memory and the keys in sight; of exact attention nothing in training, and all keys and values when
/// generating. Or the gradient of that.
class LayerState {
 public:
  virtual ~LayerState() = default;

  /// Positions whose keys it holds.
  virtual KeyInterval sight() const = 0;
  /// The most that fit.
  virtual std::int64_t capacity_tokens() const = 0;
  /// It holds those of other positions from now on, with undefined values.
  virtual void see(const KeyInterval& positions) = 0;
  /// All that it is: the rows in sight, and what has one size always.
  virtual std::vector<StatePart> parts() const = 0;
  /// Of the memory that it has taken, for any sight.
  virtual std::int64_t size_bytes() const = 0;

  /// Nothing came before; of a gradient, 0.
  void clear(Device& device, Stream& stream);
  /// Empties the memory and keeps what is in sight.
  virtual void forget(Device& device, Stream& stream) = 0;
  /// @pre made by the same layer, with no less capacity than is in the other's sight
  void copy_from(Device& device, Stream& stream, const LayerState& other);
};

/// Where a span stands in its sequence, for one layer.
struct StateFlow {
  const LayerState* before = nullptr;  // null: nothing comes before the span
  LayerState* after = nullptr;  // becomes the state behind the span; null: nobody asks. May be the state before it.
};

/// Of every layer, in order of the layers.
class SequenceState {
 public:
  explicit SequenceState(std::vector<std::unique_ptr<LayerState>> layers) : layers_(std::move(layers)) {}

  std::size_t num_layers() const { return layers_.size(); }
  LayerState* of(std::size_t layer) const { return layers_[layer].get(); }
  std::int64_t size_bytes() const;

  void clear(Device& device, Stream& stream);
  void forget(Device& device, Stream& stream);
  /// @pre as of LayerState, and of the same model
  void copy_from(Device& device, Stream& stream, const SequenceState& other);

 private:
  std::vector<std::unique_ptr<LayerState>> layers_;
};

/// StateFlow of all layers.
struct SequenceFlow {
  const SequenceState* before = nullptr;
  SequenceState* after = nullptr;
};

}  // namespace rondo

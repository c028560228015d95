// SPDX-License-Identifier: Apache-2.0
#include "model/layer_state.hpp"

namespace rondo {

void LayerState::clear(Device& device, Stream& stream) {
  set_key_range({});
  for (const StatePart& part : parts()) {
    if (part.values.count() > 0) device.fill_zero(stream, part.values.data, part.values.size_bytes());
  }
}

void LayerState::copy_from(Device& device, Stream& stream, const LayerState& other) {
  set_key_range(other.key_range());
  const std::vector<StatePart> mine = parts(), theirs = other.parts();
  for (std::size_t i = 0; i < mine.size(); ++i) {
    if (mine[i].values.count() == 0) continue;
    device.copy(stream, mine[i].values.data, theirs[i].values.data, mine[i].values.size_bytes());
  }
}

std::int64_t SequenceState::size_bytes() const {
  std::int64_t bytes = 0;
  for (const auto& layer : layers_) bytes += layer->size_bytes();
  return bytes;
}

void SequenceState::clear(Device& device, Stream& stream) {
  for (const auto& layer : layers_) layer->clear(device, stream);
}

void SequenceState::reset_memory(Device& device, Stream& stream) {
  for (const auto& layer : layers_) layer->reset_memory(device, stream);
}

void SequenceState::copy_from(Device& device, Stream& stream, const SequenceState& other) {
  for (std::size_t layer = 0; layer < layers_.size(); ++layer) {
    layers_[layer]->copy_from(device, stream, *other.of(layer));
  }
}

}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
#include "model/activations.hpp"

namespace rondo {

std::optional<TensorView> Activations::keep(std::int64_t layer, Activation name, DType dtype, const Shape& shape) {
  if (!keeps(name)) return std::nullopt;
  Buffer& buffer = kept_[static_cast<std::size_t>(layer)][static_cast<std::size_t>(name)];
  if (buffer.data() == nullptr || !(buffer.view().shape == shape)) {
    buffer = Buffer();  // the old memory goes first
    buffer = Buffer(device_, dtype, shape, MemoryUse::KeptActivations);
  }
  return buffer.view();
}

std::optional<TensorView> Activations::fetch(std::int64_t layer, Activation name) const {
  if (!keeps(name)) return std::nullopt;
  return kept_[static_cast<std::size_t>(layer)][static_cast<std::size_t>(name)].view();
}

}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
#include "model/activations.hpp"

#include <algorithm>

namespace rondo {

std::optional<TensorView> Activations::keep(std::int64_t layer, const Activation& activation, DType dtype,
                                            const Shape& shape) {
  if (!keeps(activation)) return std::nullopt;
  std::vector<Kept>& of_layer = kept_[static_cast<std::size_t>(layer)];
  auto kept = std::ranges::find(of_layer, activation.name, &Kept::name);
  if (kept == of_layer.end()) kept = of_layer.insert(kept, Kept{activation.name, Buffer()});
  if (kept->buffer.data() == nullptr || !(kept->buffer.view().shape == shape)) {
    kept->buffer = Buffer();  // frees the old memory first
    kept->buffer = Buffer(device_, dtype, shape, MemoryUse::KeptActivations);
  }
  return kept->buffer.view();
}

std::optional<TensorView> Activations::fetch(std::int64_t layer, const Activation& activation) const {
  const std::vector<Kept>& of_layer = kept_[static_cast<std::size_t>(layer)];
  const auto kept = std::ranges::find(of_layer, activation.name, &Kept::name);
  if (!keeps(activation) || kept == of_layer.end()) return std::nullopt;
  return kept->buffer.view();
}

}  // namespace rondo

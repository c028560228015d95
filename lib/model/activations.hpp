// SPDX-License-Identifier: Apache-2.0
// What the forward pass leaves for the backward pass, by layer and name. This place alone decides what is kept and what is
// computed again.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "core/arena.hpp"
#include "core/device.hpp"

namespace rondo {

/// A tensor that a layer may leave behind, declared by the layer. The name is unique within a layer.
struct Activation {
  std::string_view name;
  bool is_recomputable = false;  ///< backward can compute it again: a policy may leave it out
};

enum class ActivationPolicy {
  KeepAttention,  ///< all: the ring goes round once in forward
  KeepInputs,     ///< only what is not recomputable: attention is computed again in backward
};

class Activations {
 public:
  Activations(Device& device, std::int64_t layers, ActivationPolicy policy)
      : device_(device), policy_(policy), kept_(static_cast<std::size_t>(layers)) {}

  /// Where to write a tensor that is kept until backward, or nothing if it is not kept. Memory is reused from step to step.
  std::optional<TensorView> keep(std::int64_t layer, const Activation& activation, DType dtype, const Shape& shape);
  /// What forward kept, or nothing: then it must be computed again.
  std::optional<TensorView> fetch(std::int64_t layer, const Activation& activation) const;

 private:
  struct Kept {
    std::string_view name;
    Buffer buffer;
  };
  bool keeps(const Activation& activation) const {
    return !activation.is_recomputable || policy_ == ActivationPolicy::KeepAttention;
  }

  Device& device_;
  ActivationPolicy policy_;
  std::vector<std::vector<Kept>> kept_;  // a few of each layer
};

/// Where one layer puts what backward needs: kept, or in scratch when it is not.
class LayerActivations {
 public:
  /// @param activations null when no backward follows
  LayerActivations(Activations* activations, std::int64_t layer, Arena& scratch)
      : activations_(activations), layer_(layer), scratch_(scratch) {}

  std::int64_t layer() const { return layer_; }

  TensorView place(const Activation& activation, DType dtype, const Shape& shape) const {
    if (activations_ != nullptr) {
      if (const auto kept = activations_->keep(layer_, activation, dtype, shape)) return *kept;
    }
    return scratch_.take(dtype, shape);
  }
  std::optional<TensorView> fetch(const Activation& activation) const {
    return activations_->fetch(layer_, activation);
  }

 private:
  Activations* activations_;
  std::int64_t layer_;
  Arena& scratch_;
};

}  // namespace rondo

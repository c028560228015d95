// SPDX-License-Identifier: Apache-2.0
// What the forward pass keeps for the backward pass, by layer and name (activation checkpointing). Only this file decides what
// is kept and what is recomputed.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "core/arena.hpp"
#include "core/device.hpp"

namespace rondo {

/// A tensor that a layer may keep for its backward pass, declared by the layer. The name is unique within a layer.
struct Activation {
  std::string_view name;
  bool is_recomputable = false;  ///< backward can recompute it, so a policy may drop it
};

enum class ActivationPolicy {
  KeepAttention,  ///< all activations: ring attention is computed once, in forward
  KeepInputs,     ///< only what is not recomputable: backward recomputes attention
};

class Activations {
 public:
  Activations(Device& device, std::int64_t layers, ActivationPolicy policy)
      : device_(device), policy_(policy), kept_(static_cast<std::size_t>(layers)) {}

  /// Where to write a tensor that is kept until backward, or nothing if it is not kept. Memory is reused from step to step.
  std::optional<TensorView> keep(std::int64_t layer, const Activation& activation, DType dtype, const Shape& shape);
  /// What forward kept, or nothing: then the caller must recompute it.
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
  std::vector<std::vector<Kept>> kept_;  // a few per layer
};

/// Where one layer writes an activation: in memory that lasts until backward if it is kept, else in scratch.
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

// SPDX-License-Identifier: Apache-2.0
// What the forward pass leaves for the backward pass, by layer and name. This place alone decides what is
// kept and what is computed again.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "core/arena.hpp"
#include "core/device.hpp"

namespace rondo {

/// The tensors that a block may leave behind.
enum class Activation : std::uint8_t { Input, AttentionOut, AttentionLse, MemoryMatrix, MemoryNormaliser, MemoryDecay };
inline constexpr std::size_t kNumActivations = 6;

enum class ActivationPolicy {
  KeepAttention,  ///< layer inputs, attention output and log-sum-exp: the ring goes round once in forward
  KeepInputs,     ///< layer inputs only: attention is computed again in backward
  // The states of a compressive memory are small and always kept: without them its scan would be done again.
};

class Activations {
 public:
  Activations(Device& device, std::int64_t layers, ActivationPolicy policy)
      : device_(device), policy_(policy), kept_(static_cast<std::size_t>(layers)) {}

  /// Where to write a tensor that is kept until backward, or nothing if it is not kept. Memory is used again
  /// step by step.
  std::optional<TensorView> keep(std::int64_t layer, Activation name, DType dtype, const Shape& shape);
  /// What forward kept, or nothing: then it must be computed again.
  std::optional<TensorView> fetch(std::int64_t layer, Activation name) const;

 private:
  bool keeps(Activation name) const {
    const bool is_attention = name == Activation::AttentionOut || name == Activation::AttentionLse;
    return !is_attention || policy_ == ActivationPolicy::KeepAttention;
  }

  Device& device_;
  ActivationPolicy policy_;
  std::vector<std::array<Buffer, kNumActivations>> kept_;
};

/// Where one layer puts what backward needs: kept, or in scratch when it is not.
class LayerActivations {
 public:
  /// @param activations null when no backward follows
  LayerActivations(Activations* activations, std::int64_t layer, Arena& scratch)
      : activations_(activations), layer_(layer), scratch_(scratch) {}

  std::int64_t layer() const { return layer_; }

  TensorView place(Activation name, DType dtype, const Shape& shape) const {
    if (activations_ != nullptr) {
      if (const auto kept = activations_->keep(layer_, name, dtype, shape)) return *kept;
    }
    return scratch_.take(dtype, shape);
  }
  std::optional<TensorView> fetch(Activation name) const { return activations_->fetch(layer_, name); }

 private:
  Activations* activations_;
  std::int64_t layer_;
  Arena& scratch_;
};

}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
// What the forward pass leaves for the backward pass, by layer and name. This place alone decides what is
// kept and what is computed again.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "core/device.hpp"

namespace rondo {

/// The tensors that a block may leave behind.
enum class Activation : std::uint8_t { Input, AttentionOut, AttentionLse };
inline constexpr std::size_t kNumActivations = 3;

enum class ActivationPolicy {
  KeepAttention,  ///< layer inputs, attention output and log-sum-exp: the ring goes round once in forward
  KeepInputs,     ///< layer inputs only: attention is computed again in backward
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
  bool keeps(Activation name) const { return name == Activation::Input || policy_ == ActivationPolicy::KeepAttention; }

  Device& device_;
  ActivationPolicy policy_;
  std::vector<std::array<Buffer, kNumActivations>> kept_;
};

}  // namespace rondo

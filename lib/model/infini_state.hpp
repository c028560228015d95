// SPDX-License-Identifier: Apache-2.0
// The state that a layer of Infini-attention carries from span to span: the memory, and the keys and values of the window that
// the next queries attend to exactly. It is the same on all ranks, and its size does not grow with the sequence.
#pragma once

#include <array>

#include "model/layer_state.hpp"
#include "model/transformer_shape.hpp"

namespace rondo {

/// Keys before and after RoPE, and values, of the same positions: [rows, G, D] each.
struct KeyRows {
  TensorView k, k_rotated, v;

  std::array<TensorView, 3> each() const { return {k, k_rotated, v}; }
  KeyRows rows(std::int64_t first, std::int64_t count) const {
    return {k.rows(first, count), k_rotated.rows(first, count), v.rows(first, count)};
  }
};

/// The memory between spans, or its gradient, the same on all ranks. Empty views: no earlier span, or not needed.
struct MemoryState {
  TensorView m;  // [G, D, D] fp64
  TensorView z;  // [G, D] fp64
};

/// A state, or the gradient of one.
class InfiniState final : public LayerState {
 public:
  /// @param dtype  of keys and values  @param capacity_tokens  the most keys in the window at once
  InfiniState(Device& device, DType dtype, const TransformerShape& shape, std::int64_t capacity_tokens)
      : m_(device, DType::Fp64, {shape.kv_heads, shape.head_dim, shape.head_dim}, MemoryUse::Carry),
        z_(device, DType::Fp64, {shape.kv_heads, shape.head_dim}, MemoryUse::Carry),
        k_(device, dtype, {capacity_tokens, shape.kv_heads, shape.head_dim}, MemoryUse::Carry),
        k_rotated_(device, dtype, k_.view().shape, MemoryUse::Carry),
        v_(device, dtype, k_.view().shape, MemoryUse::Carry) {}

  MemoryState memory() const { return {m_.view(), z_.view()}; }
  /// @pre the positions are inside the key range
  KeyRows rows(const KeyInterval& positions) const {
    return KeyRows{k_.view(), k_rotated_.view(), v_.view()}.rows(positions.begin - key_range_.begin,
                                                                 positions.end - positions.begin);
  }

  KeyInterval key_range() const override { return key_range_; }
  std::int64_t capacity_tokens() const override { return k_.view().shape[0]; }
  void set_key_range(const KeyInterval& positions) override {
    ensure(positions.end - positions.begin <= capacity_tokens(), "the keys of the window fit the state");
    key_range_ = positions;
  }
  std::vector<StatePart> parts() const override {
    const KeyRows keys = rows(key_range_);
    return {{"memory", m_.view()},
            {"normaliser", z_.view()},
            {"keys", keys.k},
            {"turned_keys", keys.k_rotated},
            {"values", keys.v}};
  }
  std::int64_t size_bytes() const override {
    return static_cast<std::int64_t>(m_.size_bytes() + z_.size_bytes() + 3 * k_.size_bytes());
  }
  void reset_memory(Device& device, Stream& stream) override {
    for (const Buffer* buffer : {&m_, &z_}) device.fill_zero(stream, buffer->data(), buffer->size_bytes());
  }

 private:
  Buffer m_, z_;
  Buffer k_, k_rotated_, v_;
  KeyInterval key_range_;
};

/// The memory of a state; empty views for null.
inline MemoryState memory_of(const InfiniState* state) { return state != nullptr ? state->memory() : MemoryState{}; }

}  // namespace rondo

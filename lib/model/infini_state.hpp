// SPDX-License-Identifier: Apache-2.0
// What a layer of Infini-attention carries from span to span: the memory, and the keys and values that the next query sees
// exactly. The same on all ranks, and of a size that does not grow with the sequence.
#pragma once

#include <array>

#include "model/compressive_memory.hpp"
#include "model/layer_state.hpp"
#include "model/transformer_shape.hpp"

namespace rondo {

/// Keys, not turned and turned, and values of the same positions: [rows, G, D] each.
struct KeyRows {
  TensorView k, k_turned, v;

  std::array<TensorView, 3> each() const { return {k, k_turned, v}; }
  KeyRows rows(std::int64_t first, std::int64_t count) const {
    return {k.rows(first, count), k_turned.rows(first, count), v.rows(first, count)};
  }
};

/// A rank's queries [T, N, D], and all keys and values [U, G, D] that they see: its own, those of earlier ranks and of the spans
/// before. Or the gradients of those.
struct Sight {
  TensorView q, q_turned;
  KeyRows keys;
};

/// A state, or the gradient of one.
class InfiniState final : public LayerState {
 public:
  /// @param dtype  of keys and values  @param capacity_tokens  the most that are in sight at once
  InfiniState(Device& device, DType dtype, const TransformerShape& shape, std::int64_t capacity_tokens)
      : m_(device, DType::Fp64, {shape.kv_heads, shape.head_dim, shape.head_dim}, MemoryUse::Carry),
        z_(device, DType::Fp64, {shape.kv_heads, shape.head_dim}, MemoryUse::Carry),
        k_(device, dtype, {capacity_tokens, shape.kv_heads, shape.head_dim}, MemoryUse::Carry),
        k_turned_(device, dtype, k_.view().shape, MemoryUse::Carry),
        v_(device, dtype, k_.view().shape, MemoryUse::Carry) {}

  MemoryState memory() const { return {m_.view(), z_.view()}; }
  /// @pre in sight
  KeyRows rows(const KeyInterval& positions) const {
    return KeyRows{k_.view(), k_turned_.view(), v_.view()}.rows(positions.begin - sight_.begin,
                                                                positions.end - positions.begin);
  }

  KeyInterval key_range() const override { return sight_; }
  std::int64_t capacity_tokens() const override { return k_.view().shape[0]; }
  void set_key_range(const KeyInterval& positions) override {
    ensure(positions.end - positions.begin <= capacity_tokens(), "what is in sight fits the state");
    sight_ = positions;
  }
  std::vector<StatePart> parts() const override {
    const KeyRows keys = rows(sight_);
    return {{"memory", m_.view()},
            {"normaliser", z_.view()},
            {"keys", keys.k},
            {"turned_keys", keys.k_turned},
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
  Buffer k_, k_turned_, v_;
  KeyInterval sight_;
};

/// The memory of a state; of none, empty views.
inline MemoryState memory_of(const InfiniState* state) { return state != nullptr ? state->memory() : MemoryState{}; }

}  // namespace rondo

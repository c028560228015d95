// SPDX-License-Identifier: Apache-2.0
// The key/value cache of exact attention in generation: rotated keys and values of all tokens so far, on one rank.
#pragma once

#include "model/kv_exchange.hpp"
#include "model/layer_state.hpp"

namespace rondo {

class KeyValueCache final : public LayerState {
 public:
  /// @param shape  [capacity in tokens, G, D]
  KeyValueCache(Device& device, DType dtype, const Shape& shape)
      : k_(device, dtype, shape, MemoryUse::KeyValueSlots), v_(device, dtype, shape, MemoryUse::KeyValueSlots) {}

  /// Appends the keys and values of the next positions.
  void append(Device& device, Stream& stream, const KeyValue& fresh);
  KeyValue all() const { return {k_.view().rows(0, num_tokens_), v_.view().rows(0, num_tokens_)}; }

  KeyInterval key_range() const override { return {0, num_tokens_}; }
  std::int64_t capacity_tokens() const override { return k_.view().shape[0]; }
  void set_key_range(const KeyInterval& positions) override;
  std::vector<StatePart> parts() const override { return {{"turned_keys", all().k}, {"values", all().v}}; }
  std::int64_t size_bytes() const override { return static_cast<std::int64_t>(k_.size_bytes() + v_.size_bytes()); }
  void reset_memory(Device&, Stream&) override {}  // it has no memory besides its keys

 private:
  Buffer k_, v_;
  std::int64_t num_tokens_ = 0;
};

}  // namespace rondo

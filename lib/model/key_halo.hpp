// SPDX-License-Identifier: Apache-2.0
// The keys and values of the window that this rank does not own: a halo exchange with earlier ranks, and the rows that are
// carried from span to span. Backward is the transposed exchange of gradients.
#pragma once

#include <vector>

#include "model/infini_state.hpp"
#include "model/memory_chain.hpp"
#include "model/span.hpp"
#include "runtime/execution.hpp"

namespace rondo {

/// Serves one pass over a span; views are in scratch of the caller's scope. [U, G, D] are the rows of all keys that this rank's
/// queries attend to, chain.keys(): rows of the state before the span, halo rows of earlier ranks, and its own.
class KeyHalo {
 public:
  /// @param inverse_frequencies  of RoPE, [D/2]
  KeyHalo(Execution& execution, const Span& span, const MemoryChain& chain,
          const std::vector<double>& inverse_frequencies)
      : execution_(execution), span_(span), chain_(chain), inverse_frequencies_(inverse_frequencies) {}

  /// own [T, G, D] -> [U, G, D]. Sends keys before RoPE and values: w n (d_k + d_v) numbers per key head if the queries of a
  /// rank attend to w segments of n tokens before its own. The receiver applies RoPE.
  KeyRows receive(const KeyRows& own, const InfiniState* before) const;
  /// The transposed exchange: sends the gradients of the halo rows of d_keys [U, G, D] to their owners, which add them up.
  void send_gradients_back(const KeyRows& d_keys) const;
  /// This rank's own rows [T, G, D] of [U, G, D].
  TensorView own_rows(const TensorView& all) const;

  /// after = the window of the next span, from keys [U, G, D] and the window before this span. `after` may be `before`.
  void carry_forward(const KeyRows& keys, const InfiniState* before, InfiniState& after) const;
  /// The transposed map: d_keys += gradient of what was carried forward; d_state, the gradient of the window after the span,
  /// becomes that of the window before it.
  void carry_backward(const KeyRows& d_keys, const InfiniState* before, InfiniState& d_state) const;

 private:
  TensorView with_room_for_halo(const TensorView& own) const;
  TensorView rows_of(const TensorView& all, const KeyTransfer& transfer) const;
  void send_and_receive(const KeyRows& keys) const;
  void rotate(const TensorView& k, const TensorView& rotated, std::int64_t first_position) const;
  void rotate_back(const TensorView& d_rotated, const TensorView& d_k, std::int64_t first_position) const;
  KeyRows take_like(const KeyRows& keys, std::int64_t count) const;
  void copy(const TensorView& from, const TensorView& to) const;
  void copy(const KeyRows& from, const KeyRows& to) const;
  void add(const KeyRows& from, const KeyRows& to) const;

  Execution& execution_;
  const Span& span_;
  const MemoryChain& chain_;
  const std::vector<double>& inverse_frequencies_;
};

}  // namespace rondo

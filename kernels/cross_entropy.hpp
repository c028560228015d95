// SPDX-License-Identifier: Apache-2.0
// Cross-entropy of a chunk of logits, with its gradient in the same pass.
#pragma once

#include "core/tensor_view.hpp"

namespace rondo {

/// losses[t] = logsumexp(logits[t]) - logits[t, targets[t]], or 0 where targets[t] is kNoTarget.
/// If d_logits is given: d_logits[t, v] = gradient_scale * (softmax(logits[t])[v] - [v == targets[t]]), or 0.
struct CrossEntropyArgs {
  static constexpr std::int32_t kNoTarget = -1;

  TensorView logits;    // [T, V] accumulator type
  TensorView targets;   // [T] int32
  TensorView losses;    // [T] accumulator type, nats
  TensorView d_logits;  // [T, V] storage type, or empty
  double gradient_scale = 1.0;
};

void check(const CrossEntropyArgs& args);

}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "kernels/reference/loops.hpp"
#include "kernels/reference/operations.hpp"

namespace rondo::reference {

namespace {

/// m + log(sum of exp(x - m)) with m = max(x), so that nothing overflows.
template <typename Sum> Sum log_sum_exp(const Sum* x, std::int64_t count) {
  const Sum largest = *std::max_element(x, x + count);
  Sum sum = 0;
  for (std::int64_t i = 0; i < count; ++i) sum += std::exp(x[i] - largest);
  return largest + std::log(sum);
}

/// T is the storage type of the gradient.
template <typename T> void cross_entropy_of(const CrossEntropyArgs& args) {
  using Sum = Accumulator<T>;
  const std::int64_t tokens = args.logits.shape[0], vocabulary = args.logits.shape[1];
  const std::int32_t* targets = args.targets.as<std::int32_t>();
  Sum* losses = args.losses.as<Sum>();
  const auto scale = static_cast<Sum>(args.gradient_scale);
  for (std::int64_t t = 0; t < tokens; ++t) {
    const Sum* logits = args.logits.as<Sum>() + t * vocabulary;
    T* d_logits = args.d_logits ? args.d_logits.as<T>() + t * vocabulary : nullptr;
    const std::int32_t target = targets[t];
    if (target == CrossEntropyArgs::kNoTarget) {
      losses[t] = 0;
      if (d_logits != nullptr) std::fill_n(d_logits, vocabulary, T{});
      continue;
    }
    ensure(target >= 0 && target < vocabulary, "a target lies in the vocabulary");

    // loss = logsumexp(z) - z[target];  d_z = scale (softmax(z) - onehot(target))
    const Sum lse = log_sum_exp(logits, vocabulary);
    losses[t] = lse - logits[target];
    if (d_logits == nullptr) continue;
    for (std::int64_t v = 0; v < vocabulary; ++v) {
      const Sum one_hot = v == target ? Sum{1} : Sum{0};
      d_logits[v] = static_cast<T>(scale * (std::exp(logits[v] - lse) - one_hot));
    }
  }
}

}  // namespace

void cross_entropy(const CrossEntropyArgs& args) {
  check(args);
  const DType gradient_type = args.d_logits ? args.d_logits.dtype : args.logits.dtype;
  with_storage_type(gradient_type, [&]<typename T>() { cross_entropy_of<T>(args); });
}

}  // namespace rondo::reference

// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "kernels/reference/loops.hpp"
#include "kernels/reference/operations.hpp"

namespace rondo::reference {

namespace {

/// 1 / (1 + exp(-x)); exp overflows to inf for very negative x, which correctly gives 0.
template <typename Sum> Sum sigmoid(Sum x) { return 1 / (1 + std::exp(-x)); }

template <typename T> void forward(const SwigluForwardArgs& args) {
  using Sum = Accumulator<T>;
  const std::int64_t tokens = args.a.shape[0], dim = args.a.shape[1];
  for (std::int64_t t = 0; t < tokens; ++t) {
    const T* gate = args.gate_up.as<T>() + t * 2 * dim;
    const T* up = gate + dim;
    T* a = args.a.as<T>() + t * dim;
    // a = gate sigmoid(gate) up
    for (std::int64_t i = 0; i < dim; ++i) {
      const auto g = static_cast<Sum>(gate[i]);
      a[i] = static_cast<T>(g * sigmoid(g) * static_cast<Sum>(up[i]));
    }
  }
}

template <typename T> void backward(const SwigluBackwardArgs& args) {
  using Sum = Accumulator<T>;
  const std::int64_t tokens = args.d_a.shape[0], dim = args.d_a.shape[1];
  for (std::int64_t t = 0; t < tokens; ++t) {
    const T* gate = args.gate_up.as<T>() + t * 2 * dim;
    const T* up = gate + dim;
    const T* d_a = args.d_a.as<T>() + t * dim;
    T* d_gate = args.d_gate_up.as<T>() + t * 2 * dim;
    T* d_up = d_gate + dim;
    // With s = sigmoid(gate):  d_gate = d_a up s (1 + gate (1 - s)),  d_up = d_a gate s
    for (std::int64_t i = 0; i < dim; ++i) {
      const auto g = static_cast<Sum>(gate[i]), u = static_cast<Sum>(up[i]), d = static_cast<Sum>(d_a[i]);
      const Sum s = sigmoid(g);
      d_gate[i] = static_cast<T>(d * u * s * (1 + g * (1 - s)));
      d_up[i] = static_cast<T>(d * g * s);
    }
  }
}

}  // namespace

void swiglu_forward(const SwigluForwardArgs& args) {
  check(args);
  with_storage_type(args.a.dtype, [&]<typename T>() { forward<T>(args); });
}

void swiglu_backward(const SwigluBackwardArgs& args) {
  check(args);
  with_storage_type(args.d_a.dtype, [&]<typename T>() { backward<T>(args); });
}

}  // namespace rondo::reference

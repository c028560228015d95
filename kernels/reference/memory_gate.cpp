// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "kernels/reference/loops.hpp"
#include "kernels/reference/operations.hpp"

namespace rondo::reference {

namespace {

template <typename Sum> Sum sigmoid(Sum x) { return 1 / (1 + std::exp(-x)); }

/// Calls body(row, n, share) for each token and head n: `row` is the first element of its row, `share` the weight of the read,
/// 0 where nothing was read.
template <typename Sum, typename Body>
void for_each_row(const TensorView& local, const MemoryRead& read, const TensorView& gate, Body&& body) {
  const std::int64_t T = local.shape[0], N = local.shape[1], D = local.shape[2];
  for (std::int64_t t = 0; t < T; ++t) {
    for (std::int64_t n = 0; n < N; ++n) {
      const bool is_empty = read.normaliser.as<Sum>()[n * T + t] == 0;
      body((t * N + n) * D, n, is_empty ? Sum{0} : sigmoid(gate.as<Sum>()[n]));
    }
  }
}

template <typename T> void forward(const MemoryGateForwardArgs& args) {
  using Sum = Accumulator<T>;
  const std::int64_t D = args.local.shape[2];
  for_each_row<Sum>(args.local, args.read, args.gate, [&](std::int64_t row, std::int64_t, Sum share) {
    const Sum *local = args.local.as<Sum>() + row, *read = args.read.out.as<Sum>() + row;
    T* out = args.out.as<T>() + row;
    for (std::int64_t d = 0; d < D; ++d) out[d] = static_cast<T>(share * read[d] + (1 - share) * local[d]);
  });
}

template <typename T> void backward(const MemoryGateBackwardArgs& args) {
  using Sum = Accumulator<T>;
  const std::int64_t D = args.local.shape[2];
  for_each_row<Sum>(args.local, args.read, args.gate, [&](std::int64_t row, std::int64_t n, Sum share) {
    const Sum *local = args.local.as<Sum>() + row, *read = args.read.out.as<Sum>() + row;
    const T* d_out = args.d_out.as<T>() + row;
    Sum d_share = 0;
    for (std::int64_t d = 0; d < D; ++d) {
      const auto gradient = static_cast<Sum>(d_out[d]);
      args.d_local.as<T>()[row + d] = static_cast<T>((1 - share) * gradient);
      args.d_read.as<Sum>()[row + d] = share * gradient;
      d_share += gradient * (read[d] - local[d]);
    }
    args.d_gate.as<Sum>()[n] += share * (1 - share) * d_share;
  });
}

}  // namespace

void memory_gate_forward(const MemoryGateForwardArgs& args) {
  check(args);
  with_storage_type(args.out.dtype, [&]<typename T>() { forward<T>(args); });
}

void memory_gate_backward(const MemoryGateBackwardArgs& args) {
  check(args);
  with_storage_type(args.d_out.dtype, [&]<typename T>() { backward<T>(args); });
}

}  // namespace rondo::reference

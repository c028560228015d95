// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "kernels/cpu/context.hpp"
#include "kernels/cpu/operations.hpp"

namespace rondo::cpu {

namespace {

float sigmoid(float x) { return 1 / (1 + std::exp(-x)); }

float load(const float* x) { return *x; }
float load(const bf16* x) { return static_cast<float>(*x); }

template <typename T>
void forward_rows(const MemoryGateForwardArgs& args, std::int64_t n, std::int64_t begin, std::int64_t end) {
  const std::int64_t T_all = args.local.shape[0], N = args.local.shape[1], D = args.local.shape[2];
  const float gate = sigmoid(args.gate.as<float>()[n]);
  for (std::int64_t t = begin; t < end; ++t) {
    const std::int64_t row = (t * N + n) * D;
    const float share = args.read.normaliser.as<float>()[n * T_all + t] == 0 ? 0 : gate;
    const float *local = args.local.as<float>() + row, *read = args.read.out.as<float>() + row;
    T* out = args.out.as<T>() + row;
    for (std::int64_t d = 0; d < D; ++d) out[d] = static_cast<T>(share * read[d] + (1 - share) * local[d]);
  }
}

/// @returns what these rows contribute to the gradient of the gate
template <typename T>
double backward_rows(const MemoryGateBackwardArgs& args, std::int64_t n, std::int64_t begin, std::int64_t end) {
  const std::int64_t T_all = args.local.shape[0], N = args.local.shape[1], D = args.local.shape[2];
  const float gate = sigmoid(args.gate.as<float>()[n]);
  double d_gate = 0;
  for (std::int64_t t = begin; t < end; ++t) {
    const std::int64_t row = (t * N + n) * D;
    const float share = args.read.normaliser.as<float>()[n * T_all + t] == 0 ? 0 : gate;
    const float *local = args.local.as<float>() + row, *read = args.read.out.as<float>() + row;
    const T* d_out = args.d_out.as<T>() + row;
    T* d_local = args.d_local.as<T>() + row;
    float* d_read = args.d_read.as<float>() + row;
    float d_share = 0;
    for (std::int64_t d = 0; d < D; ++d) {
      const float gradient = load(d_out + d);
      d_local[d] = static_cast<T>((1 - share) * gradient);
      d_read[d] = share * gradient;
      d_share += gradient * (read[d] - local[d]);
    }
    d_gate += static_cast<double>(share * (1 - share) * d_share);
  }
  return d_gate;
}

constexpr std::int64_t kPartTokens = 1024;

}  // namespace

void memory_gate_forward(const Context& context, Stream& stream, const MemoryGateForwardArgs& args) {
  check(args);
  const Storage storage = storage_of(args.out.dtype);
  const std::int64_t T = args.local.shape[0], N = args.local.shape[1];
  parallel_chunks(stream, context.threads, T, kPartTokens, [&](Worker&, std::int64_t begin, std::int64_t end) {
    for (std::int64_t n = 0; n < N; ++n) {
      storage == Storage::Bf16 ? forward_rows<bf16>(args, n, begin, end) : forward_rows<float>(args, n, begin, end);
    }
  });
}

// One item per head, its tokens in order, so that the gradient of its gate does not depend on the number of threads.
void memory_gate_backward(const Context& context, Stream& stream, const MemoryGateBackwardArgs& args) {
  check(args);
  const Storage storage = storage_of(args.d_out.dtype);
  const std::int64_t T = args.local.shape[0], N = args.local.shape[1];
  parallel_items(stream, context.threads, N, [&](Worker& worker, std::int64_t n) {
    double d_gate = 0;
    for (std::int64_t begin = 0; begin < T; begin += kPartTokens) {
      const std::int64_t end = std::min(T, begin + kPartTokens);
      d_gate += storage == Storage::Bf16 ? backward_rows<bf16>(args, n, begin, end)
                                         : backward_rows<float>(args, n, begin, end);
      worker.tick();
    }
    args.d_gate.as<float>()[n] += static_cast<float>(d_gate);
  });
}

}  // namespace rondo::cpu

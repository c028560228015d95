// SPDX-License-Identifier: Apache-2.0
// Plain RMSNorm: one block of threads a token. The gradient of the weight is summed by one thread a column,
// in the order of the tokens, so it needs no atomics.
#include "kernels/cuda/elements.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/operations.hpp"
#include "kernels/dispatch.hpp"

namespace rondo::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;

/// r = 1 / sqrt(mean(x^2) + epsilon), known to all threads.
template <typename Sum, typename E>
__device__ Sum reciprocal_root(const E* x, std::int64_t dim, Sum epsilon, Sum* shared) {
  Sum squares = 0;
  for (std::int64_t c = threadIdx.x; c < dim; c += kThreads) squares += load(x[c]) * load(x[c]);
  return 1 / sqrt(block_sum(squares, shared) / static_cast<Sum>(dim) + epsilon);
}

template <typename Sum, typename E>
__global__ void forward_kernel(const E* x, const E* weight, E* y, std::int64_t dim, Sum epsilon) {
  __shared__ Sum shared[kWarps];
  const std::int64_t first = blockIdx.x * dim;
  // y = x r w
  const Sum r = reciprocal_root(x + first, dim, epsilon, shared);
  for (std::int64_t c = threadIdx.x; c < dim; c += kThreads) {
    y[first + c] = store<E>(load(x[first + c]) * r * load(weight[c]));
  }
}

/// d_x of one token, and its reciprocal root for the weight's gradient.
template <typename Sum, typename E>
__global__ void backward_rows_kernel(const E* d_y, const E* x, const E* weight, E* d_x, Sum* roots, std::int64_t dim,
                                     Sum epsilon) {
  __shared__ Sum shared[kWarps];
  const std::int64_t first = blockIdx.x * dim;
  const Sum r = reciprocal_root(x + first, dim, epsilon, shared);
  if (threadIdx.x == 0) roots[blockIdx.x] = r;
  // With g = d_y w:  d_x += r g - x r^3 (g . x) / C
  Sum g_dot_x = 0;
  for (std::int64_t c = threadIdx.x; c < dim; c += kThreads) {
    g_dot_x += load(d_y[first + c]) * load(weight[c]) * load(x[first + c]);
  }
  const Sum along_x = r * r * r * block_sum(g_dot_x, shared) / static_cast<Sum>(dim);
  for (std::int64_t c = threadIdx.x; c < dim; c += kThreads) {
    const Sum gradient = r * load(d_y[first + c]) * load(weight[c]) - load(x[first + c]) * along_x;
    d_x[first + c] = store<E>(load(d_x[first + c]) + gradient);
  }
}

/// d_w[c] += sum over t of d_y[t, c] x[t, c] r[t]
template <typename Sum, typename E>
__global__ void backward_weight_kernel(const E* d_y, const E* x, const Sum* roots, Sum* d_weight, std::int64_t tokens,
                                       std::int64_t dim) {
  const std::int64_t c = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (c >= dim) return;
  Sum sum = d_weight[c];
  for (std::int64_t t = 0; t < tokens; ++t) sum += load(d_y[t * dim + c]) * load(x[t * dim + c]) * roots[t];
  d_weight[c] = sum;
}

}  // namespace

void rms_norm_forward(Stream& stream, const RmsNormForwardArgs& args) {
  rondo::check(args);
  const std::int64_t tokens = args.x.shape[0], dim = args.x.shape[1];
  with_storage_type(args.x.dtype, [&]<typename T>() {
    using E = Element<T>;
    using Sum = Accumulator<T>;
    launch(forward_kernel<Sum, E>, stream, {.blocks = tokens, .threads = kThreads}, elements<T>(args.x),
           elements<T>(args.weight), elements<T>(args.y), dim, static_cast<Sum>(args.epsilon));
  });
}

void rms_norm_backward(Stream& stream, const RmsNormBackwardArgs& args) {
  rondo::check(args);
  const std::int64_t tokens = args.x.shape[0], dim = args.x.shape[1];
  with_storage_type(args.x.dtype, [&]<typename T>() {
    using E = Element<T>;
    using Sum = Accumulator<T>;
    Arena::Scope scope(args.scratch);
    Sum* roots = args.scratch.take(dtype_of<Sum>, {tokens}).template as<Sum>();
    launch(backward_rows_kernel<Sum, E>, stream, {.blocks = tokens, .threads = kThreads}, elements<T>(args.d_y),
           elements<T>(args.x), elements<T>(args.weight), elements<T>(args.d_x), roots, dim,
           static_cast<Sum>(args.epsilon));
    launch(backward_weight_kernel<Sum, E>, stream, {.blocks = (dim + kThreads - 1) / kThreads, .threads = kThreads},
           elements<T>(args.d_y), elements<T>(args.x), roots, args.d_weight.as<Sum>(), tokens, dim);
  });
}

}  // namespace rondo::cuda

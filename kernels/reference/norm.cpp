// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "kernels/reference/loops.hpp"
#include "kernels/reference/operations.hpp"

namespace rondo::reference {

namespace {

/// r = 1 / sqrt(mean(x^2) + epsilon)
template <typename T> Accumulator<T> reciprocal_root(const T* x, std::int64_t dim, double epsilon) {
  using Sum = Accumulator<T>;
  const Sum mean = dot<Sum>(x, x, dim) / static_cast<Sum>(dim);
  return 1 / std::sqrt(mean + static_cast<Sum>(epsilon));
}

template <typename T> void forward(const RmsNormForwardArgs& args) {
  using Sum = Accumulator<T>;
  const std::int64_t tokens = args.x.shape[0], dim = args.x.shape[1];
  const T* weight = args.weight.as<T>();
  for (std::int64_t t = 0; t < tokens; ++t) {
    const T* x = args.x.as<T>() + t * dim;
    T* y = args.y.as<T>() + t * dim;
    // y = x r w
    const Sum r = reciprocal_root(x, dim, args.epsilon);
    for (std::int64_t c = 0; c < dim; ++c) {
      y[c] = static_cast<T>(static_cast<Sum>(x[c]) * r * static_cast<Sum>(weight[c]));
    }
  }
}

template <typename T> void backward(const RmsNormBackwardArgs& args) {
  using Sum = Accumulator<T>;
  const std::int64_t tokens = args.x.shape[0], dim = args.x.shape[1];
  const T* weight = args.weight.as<T>();
  Sum* d_weight = args.d_weight.as<Sum>();
  for (std::int64_t t = 0; t < tokens; ++t) {
    const T* x = args.x.as<T>() + t * dim;
    const T* d_y = args.d_y.as<T>() + t * dim;
    T* d_x = args.d_x.as<T>() + t * dim;
    const Sum r = reciprocal_root(x, dim, args.epsilon);

    // With g = d_y w:  d_x += r g - x r^3 (g . x) / C,  d_w += d_y x r
    Sum g_dot_x = 0;
    for (std::int64_t c = 0; c < dim; ++c) {
      g_dot_x += static_cast<Sum>(d_y[c]) * static_cast<Sum>(weight[c]) * static_cast<Sum>(x[c]);
    }
    const Sum along_x = r * r * r * g_dot_x / static_cast<Sum>(dim);
    for (std::int64_t c = 0; c < dim; ++c) {
      const Sum xc = static_cast<Sum>(x[c]), d_yc = static_cast<Sum>(d_y[c]);
      d_x[c] = static_cast<T>(static_cast<Sum>(d_x[c]) + r * d_yc * static_cast<Sum>(weight[c]) - xc * along_x);
      d_weight[c] += d_yc * xc * r;
    }
  }
}

}  // namespace

void rms_norm_forward(const RmsNormForwardArgs& args) {
  check(args);
  with_storage_type(args.x.dtype, [&]<typename T>() { forward<T>(args); });
}

void rms_norm_backward(const RmsNormBackwardArgs& args) {
  check(args);
  with_storage_type(args.x.dtype, [&]<typename T>() { backward<T>(args); });
}

}  // namespace rondo::reference

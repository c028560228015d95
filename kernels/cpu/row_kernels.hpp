// SPDX-License-Identifier: Apache-2.0
// Kernels on one row or chunk, in fp32 vectors for any storage type: norm, activation, RoPE, softmax, optimizer.
// Included only by the files that are compiled once for each instruction set.
#pragma once

#include "kernels/cpu/kernel_table.hpp"
#include "kernels/cpu/product.hpp"
#include "kernels/cpu/vector_math.hpp"

namespace rondo::cpu {
namespace {

template <class V> struct Rows {
  using F = typename V::Float;
  static constexpr int w = V::kWidth;

  /// body(index, count) for every vector of a row; count < w only for the last. load and store below follow it.
  template <class Body> static inline __attribute__((always_inline)) void each(std::int64_t columns, Body body) {
    std::int64_t i = 0;
    for (; i + w <= columns; i += w) body(i, w);
    if (i < columns) body(i, static_cast<int>(columns - i));
  }
  template <class S> static F load(const S* p, int count) { return count == w ? V::load(p) : V::load_first(p, count); }
  template <class S> static void store(S* p, F x, int count) {
    if (count == w) {
      V::store(p, x);
    } else {
      V::store_first(p, x, count);
    }
  }
  /// Calls body with a null pointer of the storage's element type, as a tag.
  template <class Body> static void with(Storage type, Body body) {
    if (type == Storage::Fp32) body(static_cast<float*>(nullptr));
    if (type == Storage::Bf16) body(static_cast<Bf16Bits*>(nullptr));
  }

  template <class S> static float reciprocal_root(const S* x, std::int64_t columns, float epsilon) {
    F sum = V::zero();
    each(columns, [&](std::int64_t i, int n) {
      const F a = load(x + i, n);
      sum = V::fma(a, a, sum);
    });
    return 1.0F / __builtin_sqrtf(V::reduce_add(sum) / static_cast<float>(columns) + epsilon);
  }

  static void rms_norm(Storage type, const void* x, const void* weight, void* y, std::int64_t columns, float epsilon) {
    with(type, [&]<class S>(S*) {
      const S* from = static_cast<const S*>(x);
      const F r = V::broadcast(reciprocal_root(from, columns, epsilon));
      each(columns, [&](std::int64_t i, int n) {
        const F scaled = V::mul(load(from + i, n), r);
        store(static_cast<S*>(y) + i, V::mul(scaled, load(static_cast<const S*>(weight) + i, n)), n);
      });
    });
  }

  static void rms_norm_backward(Storage type, const void* d_y, const void* x, const void* weight, void* d_x,
                                float* d_weight, std::int64_t columns, float epsilon) {
    with(type, [&]<class S>(S*) {
      const S* xs = static_cast<const S*>(x);
      const S* dys = static_cast<const S*>(d_y);
      const S* ws = static_cast<const S*>(weight);
      S* dxs = static_cast<S*>(d_x);
      const float r = reciprocal_root(xs, columns, epsilon);
      F dot = V::zero();
      each(columns, [&](std::int64_t i, int n) {
        dot = V::fma(V::mul(load(dys + i, n), load(ws + i, n)), load(xs + i, n), dot);
      });
      // With g = d_y w:  d_x += r g - x r^3 (g . x) / C,  d_w += d_y x r
      const F root = V::broadcast(r);
      const F along = V::broadcast(-r * r * r * V::reduce_add(dot) / static_cast<float>(columns));
      each(columns, [&](std::int64_t i, int n) {
        const F a = load(xs + i, n), d = load(dys + i, n), rd = V::mul(root, d);
        const F sum = V::fma(a, along, V::fma(rd, load(ws + i, n), load(dxs + i, n)));
        store(dxs + i, sum, n);
        store(d_weight + i, V::fma(rd, a, load(d_weight + i, n)), n);
      });
    });
  }

  static void swiglu(Storage type, const void* gate, const void* up, void* a, std::int64_t columns) {
    with(type, [&]<class S>(S*) {
      each(columns, [&](std::int64_t i, int n) {
        const F g = load(static_cast<const S*>(gate) + i, n), u = load(static_cast<const S*>(up) + i, n);
        store(static_cast<S*>(a) + i, V::mul(V::mul(g, sigmoid<V>(g)), u), n);
      });
    });
  }

  static void swiglu_backward(Storage type, const void* gate, const void* up, const void* d_a, void* d_gate, void* d_up,
                              std::int64_t columns) {
    with(type, [&]<class S>(S*) {
      each(columns, [&](std::int64_t i, int n) {
        const F g = load(static_cast<const S*>(gate) + i, n), u = load(static_cast<const S*>(up) + i, n);
        const F d = load(static_cast<const S*>(d_a) + i, n);
        // silu' = s (1 + g (1 - s))
        const F s = sigmoid<V>(g), one = V::broadcast(1.0F);
        const F slope = V::mul(s, V::fma(g, V::sub(one, s), one));
        store(static_cast<S*>(d_gate) + i, V::mul(V::mul(d, u), slope), n);
        store(static_cast<S*>(d_up) + i, V::mul(d, V::mul(g, s)), n);
      });
    });
  }

  static void rotate(Storage from_type, const void* from, Storage to_type, void* to, const float* cosines,
                     const float* sines, std::int64_t half) {
    with(from_type, [&]<class S>(S*) {
      with(to_type, [&]<class D>(D*) {
        const S* x = static_cast<const S*>(from);
        D* y = static_cast<D*>(to);
        each(half, [&](std::int64_t i, int n) {
          const F a = load(x + i, n), b = load(x + half + i, n);
          const F c = load(cosines + i, n), s = load(sines + i, n);
          store(y + i, V::sub(V::mul(a, c), V::mul(b, s)), n);
          store(y + half + i, V::fma(b, c, V::mul(a, s)), n);
        });
      });
    });
  }

  // Chunks are read twice, first for their maximum, but stay in L1, so memory is read once.
  static float log_sum_exp(const float* x, std::int64_t columns) {
    constexpr std::int64_t kChunk = 2048;
    float most = -__builtin_inff();
    double sum = 0;
    for (std::int64_t first = 0; first < columns; first += kChunk) {
      const std::int64_t count = columns - first < kChunk ? columns - first : kChunk;
      const F lowest = V::broadcast(-__builtin_inff());
      F peak = lowest;
      for (std::int64_t i = 0; i + w <= count; i += w) peak = V::max(V::load(x + first + i), peak);
      float now = V::reduce_max(peak);
      for (std::int64_t i = count / w * w; i < count; ++i) now = x[first + i] > now ? x[first + i] : now;
      if (now > most) {
        sum *= __builtin_exp(static_cast<double>(most) - static_cast<double>(now));
        most = now;
      }
      const F shift = V::broadcast(most == -__builtin_inff() ? 0.0F : most);
      F part = V::zero();
      const auto power = [&](F a) { return exponential<V>(V::sub(a, shift)); };
      std::int64_t i = 0;
      for (; i + w <= count; i += w) part = V::add(part, power(V::load(x + first + i)));
      sum += static_cast<double>(V::reduce_add(part));
      if (i < count) {
        alignas(64) float rest[w];
        V::store(rest, power(V::load_first(x + first + i, static_cast<int>(count - i))));
        for (std::int64_t j = 0; j < count - i; ++j) sum += static_cast<double>(rest[j]);
      }
    }
    return static_cast<float>(static_cast<double>(most) + __builtin_log(sum));
  }

  static void softmax(const float* x, std::int64_t columns, float log_sum_exp, float factor, Storage type, void* d) {
    const F shift = V::broadcast(log_sum_exp), scale = V::broadcast(factor);
    with(type, [&]<class S>(S*) {
      each(columns, [&](std::int64_t i, int n) {
        const F p = exponential<V>(V::sub(load(x + i, n), shift));
        store(static_cast<S*>(d) + i, V::mul(p, scale), n);
      });
    });
  }

  // Rows are transposed in squares, so that each lane is a row.
  static void row_dots(const float* x, Storage type, const void* y, std::int64_t rows, std::int64_t columns,
                       float* dots) {
    with(type, [&]<class S>(S*) {
      for (std::int64_t r = 0; r < rows; r += w) {
        const int lanes = static_cast<int>(rows - r < w ? rows - r : w);
        F sum[2] = {V::zero(), V::zero()};  // in the order of the score product
        const std::int64_t first_part = first_terms(static_cast<int>(columns));
        for (std::int64_t d = 0; d < columns; d += w) {
          const int count = static_cast<int>(columns - d < w ? columns - d : w);
          F a[w], b[w];
          for (int i = 0; i < w; ++i) {
            const std::int64_t first = (r + (i < lanes ? i : 0)) * columns + d;
            a[i] = load(x + first, count);
            b[i] = load(static_cast<const S*>(y) + first, count);
          }
          V::transpose(a);
          V::transpose(b);
          for (int i = 0; i < count; ++i) {
            F& part = sum[d + i < first_part ? 0 : 1];
            part = V::fma(a[i], b[i], part);
          }
        }
        V::store_first(dots + r, V::add(sum[0], sum[1]), lanes);
      }
    });
  }

  static void convert(Storage from_type, const void* from, Storage to_type, void* to, std::int64_t count) {
    with(from_type, [&]<class S>(S*) {
      with(to_type, [&]<class D>(D*) {
        each(count, [&](std::int64_t i, int n) {
          store(static_cast<D*>(to) + i, load(static_cast<const S*>(from) + i, n), n);
        });
      });
    });
  }

  static void add(Storage from_type, const void* from, Storage to_type, void* to, std::int64_t count) {
    with(from_type, [&]<class S>(S*) {
      with(to_type, [&]<class D>(D*) {
        D* sum = static_cast<D*>(to);
        each(count, [&](std::int64_t i, int n) {
          store(sum + i, V::add(load(sum + i, n), load(static_cast<const S*>(from) + i, n)), n);
        });
      });
    });
  }

  static void adamw(const AdamWFactors& f, float* value, float* moment_1, float* moment_2, const float* gradient,
                    Bf16Bits* copy, std::int64_t count) {
    const F scale = V::broadcast(f.gradient_scale), rate = V::broadcast(f.learning_rate);
    const F b1 = V::broadcast(f.beta_1), b2 = V::broadcast(f.beta_2);
    const F r1 = V::broadcast(f.rest_1), r2 = V::broadcast(f.rest_2);
    const F c1 = V::broadcast(f.correction_1), c2 = V::broadcast(f.correction_2);
    const F epsilon = V::broadcast(f.epsilon), decay = V::broadcast(f.weight_decay);
    each(count, [&](std::int64_t i, int n) {
      const F g = V::mul(load(gradient + i, n), scale);
      const F m = V::fma(b1, load(moment_1 + i, n), V::mul(r1, g));
      const F u = V::fma(b2, load(moment_2 + i, n), V::mul(V::mul(r2, g), g));
      const F direction = V::div(V::mul(m, c1), V::add(V::sqrt(V::mul(u, c2)), epsilon));
      const F old = load(value + i, n);
      const F now = V::sub(old, V::mul(rate, V::fma(decay, old, direction)));
      store(moment_1 + i, m, n);
      store(moment_2 + i, u, n);
      store(value + i, now, n);
      if (copy != nullptr) store(copy + i, now, n);
    });
  }

  static RowKernels table() {
    return {.rms_norm = rms_norm,
            .rms_norm_backward = rms_norm_backward,
            .swiglu = swiglu,
            .swiglu_backward = swiglu_backward,
            .rotate = rotate,
            .log_sum_exp = log_sum_exp,
            .softmax = softmax,
            .row_dots = row_dots,
            .convert = convert,
            .add = add,
            .adamw = adamw};
  }
};

}  // namespace
}  // namespace rondo::cpu

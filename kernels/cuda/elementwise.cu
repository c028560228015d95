// SPDX-License-Identifier: Apache-2.0
// One pass over memory, a pack of 16 bytes (of the wider type) a thread: conversion, addition, AdamW. The fixed-order
// sums are in sum.cu.
#include <cmath>
#include <type_traits>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/operations.hpp"
#include "kernels/cuda/packs.cuh"
#include "kernels/dispatch.hpp"

namespace rondo::cuda {

namespace {

template <int kPack> LaunchShape shape_of_pass(std::int64_t count) {
  const std::int64_t packs = (count + kPack - 1) / kPack;
  return {.blocks = (packs + kBlockThreads - 1) / kBlockThreads, .threads = kBlockThreads};
}

/// First element of this thread's pack.
template <int kPack> __device__ std::int64_t first_of_thread() {
  return (std::int64_t{blockIdx.x} * kBlockThreads + threadIdx.x) * kPack;
}

template <typename From, typename To>
constexpr int kPackOfBoth = kPackOf<From> < kPackOf<To> ? kPackOf<From> : kPackOf<To>;

template <typename From, typename To>
__global__ void convert_kernel(const From* from, To* to, std::int64_t count, bool wide) {
  constexpr int kPack = kPackOfBoth<From, To>;
  const std::int64_t first = first_of_thread<kPack>();
  if (first >= count) return;
  const Pack<From, kPack> values = load_pack<kPack>(from + first, count - first, wide);
  Pack<To, kPack> converted;
#pragma unroll
  for (int i = 0; i < kPack; ++i) converted.values[i] = store<To>(load(values.values[i]));
  store_pack(to + first, converted, count - first, wide);
}

/// to += from in type Wide
template <typename Wide, typename From, typename To>
__global__ void add_kernel(const From* from, To* to, std::int64_t count, bool wide) {
  constexpr int kPack = kPackOfBoth<From, To>;
  const std::int64_t first = first_of_thread<kPack>();
  if (first >= count) return;
  const Pack<From, kPack> values = load_pack<kPack>(from + first, count - first, wide);
  Pack<To, kPack> sums = load_pack<kPack>(to + first, count - first, wide);
#pragma unroll
  for (int i = 0; i < kPack; ++i) {
    sums.values[i] = store<To>(static_cast<Wide>(load(sums.values[i])) + static_cast<Wide>(load(values.values[i])));
  }
  store_pack(to + first, sums, count - first, wide);
}

template <typename T> struct AdamWTensors {
  T* value;
  T* moment_1;
  T* moment_2;
  const T* gradient;
  __nv_bfloat16* copy;  // or null
};

template <typename T> struct AdamWFactors {
  T beta_1, beta_2, rest_1, rest_2, correction_1, correction_2, rate, decay, epsilon, scale;
};

template <typename T>
__global__ void adamw_kernel(const AdamWTensors<T> tensors, const AdamWFactors<T> factors, std::int64_t count,
                             bool wide) {
  constexpr int kPack = kPackOf<T>;
  const std::int64_t first = first_of_thread<kPack>(), rest = count - first;
  if (rest <= 0) return;
  const auto load_from = [&](const T* from) { return load_pack<kPack>(from + first, rest, wide); };
  const Pack<T, kPack> gradient = load_from(tensors.gradient);
  Pack<T, kPack> value = load_from(tensors.value), moment_1 = load_from(tensors.moment_1),
                 moment_2 = load_from(tensors.moment_2);
  Pack<__nv_bfloat16, kPack> copy;
  // m <- b1 m + (1 - b1) g,  u <- b2 u + (1 - b2) g^2,  w <- w - rate (m^ / (sqrt(u^) + epsilon) + decay w)
#pragma unroll
  for (int i = 0; i < kPack; ++i) {
    const T g = gradient.values[i] * factors.scale;
    const T m = factors.beta_1 * moment_1.values[i] + factors.rest_1 * g;
    const T u = factors.beta_2 * moment_2.values[i] + factors.rest_2 * g * g;
    const T direction = m * factors.correction_1 / (sqrt(u * factors.correction_2) + factors.epsilon);
    const T w = value.values[i] - factors.rate * (direction + factors.decay * value.values[i]);
    moment_1.values[i] = m;
    moment_2.values[i] = u;
    value.values[i] = w;
    copy.values[i] = store<__nv_bfloat16>(w);
  }
  store_pack(tensors.moment_1 + first, moment_1, rest, wide);
  store_pack(tensors.moment_2 + first, moment_2, rest, wide);
  store_pack(tensors.value + first, value, rest, wide);
  if (tensors.copy != nullptr) store_pack(tensors.copy + first, copy, rest, wide);
}

template <typename T> void adamw_of(Stream& stream, const AdamWArgs& args) {
  const auto steps = static_cast<double>(args.step);
  const AdamWFactors<T> factors{.beta_1 = static_cast<T>(args.beta_1),
                                .beta_2 = static_cast<T>(args.beta_2),
                                .rest_1 = static_cast<T>(1 - args.beta_1),
                                .rest_2 = static_cast<T>(1 - args.beta_2),
                                .correction_1 = static_cast<T>(1 / (1 - std::pow(args.beta_1, steps))),
                                .correction_2 = static_cast<T>(1 / (1 - std::pow(args.beta_2, steps))),
                                .rate = static_cast<T>(args.learning_rate),
                                .decay = static_cast<T>(args.weight_decay),
                                .epsilon = static_cast<T>(args.epsilon),
                                .scale = static_cast<T>(args.gradient_scale)};
  const AdamWTensors<T> tensors{.value = args.value.as<T>(),
                                .moment_1 = args.moment_1.as<T>(),
                                .moment_2 = args.moment_2.as<T>(),
                                .gradient = args.gradient.as<T>(),
                                .copy = args.compute_copy ? elements<bf16>(args.compute_copy) : nullptr};
  const std::int64_t count = args.value.count();
  const bool wide = are_aligned(tensors.value, tensors.moment_1, tensors.moment_2, tensors.gradient, tensors.copy);
  launch(adamw_kernel<T>, stream, shape_of_pass<kPackOf<T>>(count), tensors, factors, count, wide);
}

}  // namespace

void convert(Stream& stream, const ConvertArgs& args) {
  rondo::check(args);
  with_storage_type(args.from.dtype, [&]<typename From>() {
    with_storage_type(args.to.dtype, [&]<typename To>() {
      const auto* from = elements<From>(args.from);
      auto* to = elements<To>(args.to);
      constexpr int kPack = kPackOfBoth<Element<From>, Element<To>>;
      launch(convert_kernel<Element<From>, Element<To>>, stream, shape_of_pass<kPack>(args.from.count()), from, to,
             args.from.count(), are_aligned(from, to));
    });
  });
}

void add(Stream& stream, const AddArgs& args) {
  rondo::check(args);
  with_storage_type(args.from.dtype, [&]<typename From>() {
    with_storage_type(args.to.dtype, [&]<typename To>() {
      using Wide = std::common_type_t<Accumulator<From>, Accumulator<To>>;
      const auto* from = elements<From>(args.from);
      auto* to = elements<To>(args.to);
      constexpr int kPack = kPackOfBoth<Element<From>, Element<To>>;
      launch(add_kernel<Wide, Element<From>, Element<To>>, stream, shape_of_pass<kPack>(args.to.count()), from, to,
             args.to.count(), are_aligned(from, to));
    });
  });
}

void adamw(Stream& stream, const AdamWArgs& args) {
  rondo::check(args);
  if (args.value.dtype == DType::Fp64) return adamw_of<double>(stream, args);
  adamw_of<float>(stream, args);
}

}  // namespace rondo::cuda

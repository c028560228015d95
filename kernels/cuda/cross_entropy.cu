// SPDX-License-Identifier: Apache-2.0
// Cross-entropy of a row of logits: largest and sum in one pass, loss and gradient in the second, which finds the row in
// the cache. A target outside of the vocabulary gives NaN: the host cannot be told from here, and the check for
// non-finite losses ends the run.
#include <limits>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/operations.hpp"
#include "kernels/cuda/rows.cuh"
#include "kernels/dispatch.hpp"

namespace rondo::cuda {

namespace {

template <typename Sum> constexpr Sum kInfinity = std::numeric_limits<Sum>::infinity();
template <typename Sum> constexpr Sum kNotANumber = std::numeric_limits<Sum>::quiet_NaN();

template <typename Sum, typename E> struct LossTensors {
  const Sum* logits;
  const std::int32_t* targets;
  Sum* losses;
  E* d_logits;  // or null
  std::int64_t tokens, vocabulary;
  Sum scale;
  bool wide;
};

/// Sum of e^(x - largest), kept up while larger numbers come.
template <typename Sum> struct RunningSum {
  Sum largest = -kInfinity<Sum>, total = 0;

  __device__ void include(Sum pack_largest) {
    if (!(largest < pack_largest)) return;
    total *= exp(largest - pack_largest);
    largest = pack_largest;
  }
  /// e^-inf is 0 also while everything so far is -inf.
  __device__ void add(Sum x) { total += exp(x - (largest == -kInfinity<Sum> ? Sum{0} : largest)); }
};

template <int kRowThreads, typename Sum, typename E> __global__ void loss_kernel(const LossTensors<Sum, E> tensors) {
  constexpr int kPack = kPackOf<Sum>;
  __shared__ Sum shared[kRowBlock / 32];
  const std::int64_t t = row_group<kRowThreads>(), vocabulary = tensors.vocabulary;
  if (t >= tensors.tokens) return;
  const Sum* logits = tensors.logits + t * vocabulary;
  E* d_logits = tensors.d_logits == nullptr ? nullptr : tensors.d_logits + t * vocabulary;
  const std::int32_t target = tensors.targets[t];
  const bool is_first = threadIdx.x % kRowThreads == 0, is_valid = target >= 0 && target < vocabulary;
  if (target == CrossEntropyArgs::kNoTarget) {
    if (is_first) tensors.losses[t] = 0;
    if (d_logits == nullptr) return;
    for_packs_of_row<kRowThreads, kPack>(vocabulary, [&](std::int64_t first, int) {
      const auto zeros = load_pack<kPack>(d_logits, 0, false);
      store_pack(d_logits + first, zeros, vocabulary - first, tensors.wide);
    });
    return;
  }
  // Read before anything is written: a gradient of the logits' own type may take their place. One of a narrower type may not,
  // since its values would overwrite logits that other threads have still to read.
  const Sum at_target = is_valid ? logits[target] : kNotANumber<Sum>;

  RunningSum<Sum> running;
  for_packs_of_row<kRowThreads, kPack>(vocabulary, [&](std::int64_t first, int) {
    const Pack<Sum, kPack> z = load_pack<kPack>(logits + first, vocabulary - first, tensors.wide);
    Sum largest = z.values[0];
#pragma unroll
    for (int i = 1; i < kPack; ++i) {
      if (first + i < vocabulary && largest < z.values[i]) largest = z.values[i];
    }
    running.include(largest);
#pragma unroll
    for (int i = 0; i < kPack; ++i) {
      if (first + i < vocabulary) running.add(z.values[i]);
    }
  });
  const Sum largest = row_reduce<kRowThreads>(running.largest, shared, Larger{});
  const Sum part = running.largest == largest ? running.total : running.total * exp(running.largest - largest);
  const Sum lse = largest + log(row_reduce<kRowThreads>(part, shared, Add{}));

  // loss = logsumexp(z) - z[target];  d_z = scale (softmax(z) - onehot(target))
  if (is_first) tensors.losses[t] = lse - at_target;
  if (d_logits == nullptr) return;
  const Sum scale = is_valid ? tensors.scale : kNotANumber<Sum>;
  for_packs_of_row<kRowThreads, kPack>(vocabulary, [&](std::int64_t first, int) {
    const Pack<Sum, kPack> z = load_pack<kPack>(logits + first, vocabulary - first, tensors.wide);
    Pack<E, kPack> d_z;
#pragma unroll
    for (int i = 0; i < kPack; ++i) {
      d_z.values[i] = store<E>(scale * (exp(z.values[i] - lse) - (first + i == target ? Sum{1} : Sum{0})));
    }
    store_pack(d_logits + first, d_z, vocabulary - first, tensors.wide);
  });
}

/// T is the storage type of the gradient.
template <typename T> void cross_entropy_of(Stream& stream, const CrossEntropyArgs& args) {
  using Sum = Accumulator<T>;
  using E = Element<T>;
  const std::int64_t tokens = args.logits.shape[0], vocabulary = args.logits.shape[1];
  const auto* logits = args.logits.as<Sum>();
  auto* d_logits = args.d_logits ? elements<T>(args.d_logits) : nullptr;
  const LossTensors<Sum, E> tensors{.logits = logits,
                                    .targets = args.targets.as<std::int32_t>(),
                                    .losses = args.losses.as<Sum>(),
                                    .d_logits = d_logits,
                                    .tokens = tokens,
                                    .vocabulary = vocabulary,
                                    .scale = static_cast<Sum>(args.gradient_scale),
                                    .wide = moves_whole_packs<Sum>(vocabulary, logits, d_logits)};
  if (threads_of_row<Sum>(vocabulary) == 32) {
    launch(loss_kernel<32, Sum, E>, stream, launch_shape_of_rows<32>(tokens), tensors);
  } else {
    launch(loss_kernel<kRowBlock, Sum, E>, stream, launch_shape_of_rows<kRowBlock>(tokens), tensors);
  }
}

}  // namespace

void cross_entropy(Stream& stream, const CrossEntropyArgs& args) {
  rondo::check(args);
  const DType gradient_type = args.d_logits ? args.d_logits.dtype : args.logits.dtype;
  with_storage_type(gradient_type, [&]<typename T>() { cross_entropy_of<T>(stream, args); });
}

}  // namespace rondo::cuda

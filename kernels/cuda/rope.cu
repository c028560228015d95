// SPDX-License-Identifier: Apache-2.0
// Splits packed queries, keys and values, and turns queries and keys; backward packs and turns back. A block has a few
// tokens: it computes the turn of each pair once, in fp64, and uses it for all heads.
#include <numbers>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/operations.hpp"
#include "kernels/cuda/packs.cuh"
#include "kernels/cuda/runs.cuh"
#include "kernels/dispatch.hpp"

namespace rondo::cuda {

namespace {

constexpr int kMostPairs = 256;  // of a head: they are given to the kernel by value

/// What forward and backward share. Direction: +1 turns, -1 turns back.
struct Turns {
  DeviceRuns positions;
  double inverse_frequencies[kMostPairs];
  bool is_empty;  // nothing is rotated
  double direction;
};

struct SplitShape {
  std::int64_t tokens;
  int heads, kv_heads, head_dim;
  int tokens_of_block;
  bool wide;
};

template <typename Sum> struct Turn { Sum cosine, sine; };

/// The turn of a pair at a position. The angle is a product in fp64; its remainder by 2 pi is exact, because a fused
/// multiply-add rounds once and the remainder needs no rounding.
template <typename Sum> __device__ Turn<Sum> turn_of(const Turns& turns, std::int64_t position, int pair) {
  if (turns.is_empty) return {.cosine = 1, .sine = 0};
  constexpr double kTurn = 2 * std::numbers::pi;
  const double angle = static_cast<double>(position) * turns.inverse_frequencies[pair];
  double sine = 0, cosine = 1;
  sincos(fma(-rint(angle * (1 / kTurn)), kTurn, angle), &sine, &cosine);
  return {.cosine = static_cast<Sum>(cosine), .sine = static_cast<Sum>(turns.direction * sine)};
}

template <typename E> struct Heads {
  E* q;
  E* k;
  E* v;

  /// The elements of one head of the packed order: N query heads, then G key heads, then G value heads.
  __device__ E* of(std::int64_t t, int head, const SplitShape& shape) const {
    const int heads = shape.heads, kv_heads = shape.kv_heads;
    if (head < heads) return q + (t * heads + head) * shape.head_dim;
    if (head < heads + kv_heads) return k + (t * kv_heads + head - heads) * shape.head_dim;
    return v + (t * kv_heads + head - heads - kv_heads) * shape.head_dim;
  }
};

/// A pack of the first half of a head and the pack of the second half that turns with it.
template <int kPack, typename To, typename From, typename Sum>
__device__ void turn_packs(To* to, const From* from, int first, int half, const Turn<Sum>* turns, bool wide) {
  const int rest = half - first;
  const Pack<From, kPack> x1 = load_pack<kPack>(from + first, rest, wide);
  const Pack<From, kPack> x2 = load_pack<kPack>(from + half + first, rest, wide);
  Pack<To, kPack> y1, y2;
  // (y1, y2) = (x1 cos - x2 sin, x2 cos + x1 sin)
#pragma unroll
  for (int i = 0; i < kPack; ++i) {
    const Turn<Sum> turn = i < rest ? turns[first + i] : Turn<Sum>{.cosine = 1, .sine = 0};
    const Sum a = load(x1.values[i]), b = load(x2.values[i]);
    y1.values[i] = store<To>(a * turn.cosine - b * turn.sine);
    y2.values[i] = store<To>(b * turn.cosine + a * turn.sine);
  }
  store_pack(to + first, y1, rest, wide);
  store_pack(to + half + first, y2, rest, wide);
}

template <int kPack, typename To, typename From>
__device__ void copy_pack(To* to, const From* from, int first, int count, bool wide) {
  const Pack<From, kPack> values = load_pack<kPack>(from + first, count - first, wide);
  Pack<To, kPack> copied;
#pragma unroll
  for (int i = 0; i < kPack; ++i) copied.values[i] = store<To>(load(values.values[i]));
  store_pack(to + first, copied, count - first, wide);
}

/// From one order of heads to the other: is_split says which of the two is split.
template <bool kToSplit, typename To, typename From, typename Sum>
__global__ void split_kernel(const Heads<To> to_split, const Heads<const From> from_split, To* to_packed,
                             const From* from_packed, const SplitShape shape, const Turns turns) {
  constexpr int kPack = kPackOf<From> < kPackOf<To> ? kPackOf<From> : kPackOf<To>;
  auto* turns_of_block = dynamic_shared<Turn<Sum>>();  // [tokens_of_block, D/2]
  const int threads = kBlockThreads, half = shape.head_dim / 2;
  const std::int64_t first_token = std::int64_t{blockIdx.x} * shape.tokens_of_block;
  const std::int64_t left = shape.tokens - first_token;
  const int tokens = left < shape.tokens_of_block ? static_cast<int>(left) : shape.tokens_of_block;
  for (int i = static_cast<int>(threadIdx.x); i < tokens * half; i += threads) {
    turns_of_block[i] = turn_of<Sum>(turns, turns.positions.global_of(first_token + i / half), i % half);
  }
  __syncthreads();

  const int rotated_heads = shape.heads + shape.kv_heads, all_heads = rotated_heads + shape.kv_heads;
  const int packs_of_half = (half + kPack - 1) / kPack;  // a value head is copied as two halves too
  for (int i = static_cast<int>(threadIdx.x); i < tokens * all_heads * packs_of_half; i += threads) {
    const int token = i / (all_heads * packs_of_half), head = i / packs_of_half % all_heads;
    const int first = i % packs_of_half * kPack;
    const std::int64_t t = first_token + token, packed = (t * all_heads + head) * shape.head_dim;
    const From* from = kToSplit ? from_packed + packed : from_split.of(t, head, shape);
    To* to = kToSplit ? to_split.of(t, head, shape) : to_packed + packed;
    if (head < rotated_heads) {
      turn_packs<kPack>(to, from, first, half, turns_of_block + token * half, shape.wide);
    } else {
      copy_pack<kPack>(to, from, first, half, shape.wide);
      copy_pack<kPack>(to + half, from + half, first, shape.head_dim - half, shape.wide);
    }
  }
}

Turns turns_of(const TokenRuns& positions, const std::vector<double>& inverse_frequencies, double direction) {
  ensure(inverse_frequencies.size() <= kMostPairs, "a head has at most 512 dimensions");
  Turns turns{.positions = device_runs(positions),
              .inverse_frequencies = {},
              .is_empty = inverse_frequencies.empty(),
              .direction = direction};
  for (std::size_t i = 0; i < inverse_frequencies.size(); ++i) turns.inverse_frequencies[i] = inverse_frequencies[i];
  return turns;
}

/// @param pack elements that a thread moves at a time
SplitShape split_shape(const Shape& q, std::int64_t kv_heads, int pack, bool is_aligned) {
  const auto head_dim = static_cast<int>(q[2]), half = head_dim / 2;
  ensure(half > 0 && head_dim % 2 == 0, "a head has pairs of dimensions");
  const int tokens_of_block = half < kBlockThreads ? kBlockThreads / half : 1;  // so that every thread computes a turn
  return {.tokens = q[0],
          .heads = static_cast<int>(q[1]),
          .kv_heads = static_cast<int>(kv_heads),
          .head_dim = head_dim,
          .tokens_of_block = tokens_of_block > 16 ? 16 : tokens_of_block,
          .wide = is_aligned && half % pack == 0};
}

template <typename Sum> LaunchShape shape_of_launch(const SplitShape& shape) {
  return {.blocks = (shape.tokens + shape.tokens_of_block - 1) / shape.tokens_of_block,
          .threads = kBlockThreads,
          .shared_bytes = static_cast<std::size_t>(shape.tokens_of_block * (shape.head_dim / 2)) * sizeof(Turn<Sum>)};
}

}  // namespace

void qkv_split_forward(Stream& stream, const QkvSplitForwardArgs& args) {
  rondo::check(args);
  const Turns turns = turns_of(args.positions, args.inverse_frequencies, 1);
  with_storage_type(args.q.dtype, [&]<typename T>() {
    using E = Element<T>;
    using Sum = Accumulator<T>;
    const Heads<E> split{.q = elements<T>(args.q), .k = elements<T>(args.k), .v = elements<T>(args.v)};
    const E* packed = elements<T>(args.qkv);
    const SplitShape shape =
        split_shape(args.q.shape, args.k.shape[1], kPackOf<E>, are_aligned(split.q, split.k, split.v, packed));
    launch(split_kernel<true, E, E, Sum>, stream, shape_of_launch<Sum>(shape), split, Heads<const E>{}, nullptr, packed,
           shape, turns);
  });
}

void qkv_split_backward(Stream& stream, const QkvSplitBackwardArgs& args) {
  rondo::check(args);
  const Turns turns = turns_of(args.positions, args.inverse_frequencies, -1);
  with_storage_type(args.d_qkv.dtype, [&]<typename T>() {
    using E = Element<T>;
    using Sum = Accumulator<T>;
    const Heads<const Sum> split{.q = args.d_q.as<Sum>(), .k = args.d_k.as<Sum>(), .v = args.d_v.as<Sum>()};
    E* packed = elements<T>(args.d_qkv);
    constexpr int kPack = kPackOf<Sum> < kPackOf<E> ? kPackOf<Sum> : kPackOf<E>;
    const SplitShape shape =
        split_shape(args.d_q.shape, args.d_k.shape[1], kPack, are_aligned(split.q, split.k, split.v, packed));
    launch(split_kernel<false, E, Sum, Sum>, stream, shape_of_launch<Sum>(shape), Heads<E>{}, split, packed, nullptr,
           shape, turns);
  });
}

}  // namespace rondo::cuda

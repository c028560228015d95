// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <numbers>

#include "kernels/reference/loops.hpp"
#include "kernels/reference/operations.hpp"

namespace rondo::reference {

namespace {

struct Turn {
  double cosine = 1, sine = 0;
};

/// The rotation of one pair at one position. The angle is reduced in fp64: an fp32 angle is noise at large positions.
Turn turn_of(std::int64_t position, std::int64_t pair, const std::vector<double>& inverse_frequencies) {
  if (inverse_frequencies.empty()) return {};
  const double frequency = inverse_frequencies[static_cast<std::size_t>(pair)];
  const double angle = std::remainder(static_cast<double>(position) * frequency, 2 * std::numbers::pi);
  return {std::cos(angle), std::sin(angle)};
}

/// to = R(turn) from, for one pair of every head; heads are head_dim elements apart.
template <typename To, typename From>
void rotate_heads(To* to, const From* from, std::int64_t heads, std::int64_t head_dim, Turn turn) {
  using Sum = Accumulator<To>;
  const auto cosine = static_cast<Sum>(turn.cosine), sine = static_cast<Sum>(turn.sine);
  const std::int64_t half = head_dim / 2;
  // (y1, y2) = (x1 cos - x2 sin, x2 cos + x1 sin)
  for (std::int64_t head = 0; head < heads; ++head, to += head_dim, from += head_dim) {
    const auto x1 = static_cast<Sum>(from[0]), x2 = static_cast<Sum>(from[half]);
    to[0] = static_cast<To>(x1 * cosine - x2 * sine);
    to[half] = static_cast<To>(x2 * cosine + x1 * sine);
  }
}

template <typename T> void forward(const QkvSplitForwardArgs& args) {
  const std::int64_t tokens = args.q.shape[0], heads = args.q.shape[1], kv_heads = args.k.shape[1],
                     head_dim = args.q.shape[2];
  for (std::int64_t t = 0; t < tokens; ++t) {
    const T* from_q = args.qkv.as<T>() + t * (heads + 2 * kv_heads) * head_dim;
    const T* from_k = from_q + heads * head_dim;
    const T* from_v = from_k + kv_heads * head_dim;
    T* q = args.q.as<T>() + t * heads * head_dim;
    T* k = args.k.as<T>() + t * kv_heads * head_dim;
    T* v = args.v.as<T>() + t * kv_heads * head_dim;
    for (std::int64_t i = 0; i < head_dim / 2; ++i) {
      const Turn turn = turn_of(args.positions.global_of(t), i, args.inverse_frequencies);
      rotate_heads(q + i, from_q + i, heads, head_dim, turn);
      rotate_heads(k + i, from_k + i, kv_heads, head_dim, turn);
    }
    for (std::int64_t i = 0; i < kv_heads * head_dim; ++i) v[i] = from_v[i];
  }
}

template <typename T> void backward(const QkvSplitBackwardArgs& args) {
  using Sum = Accumulator<T>;
  const std::int64_t tokens = args.d_q.shape[0], heads = args.d_q.shape[1], kv_heads = args.d_k.shape[1],
                     head_dim = args.d_q.shape[2];
  for (std::int64_t t = 0; t < tokens; ++t) {
    T* to_q = args.d_qkv.as<T>() + t * (heads + 2 * kv_heads) * head_dim;
    T* to_k = to_q + heads * head_dim;
    T* to_v = to_k + kv_heads * head_dim;
    const Sum* d_q = args.d_q.as<Sum>() + t * heads * head_dim;
    const Sum* d_k = args.d_k.as<Sum>() + t * kv_heads * head_dim;
    const Sum* d_v = args.d_v.as<Sum>() + t * kv_heads * head_dim;
    for (std::int64_t i = 0; i < head_dim / 2; ++i) {
      Turn back = turn_of(args.positions.global_of(t), i, args.inverse_frequencies);
      back.sine = -back.sine;  // the transpose is the inverse rotation
      rotate_heads(to_q + i, d_q + i, heads, head_dim, back);
      rotate_heads(to_k + i, d_k + i, kv_heads, head_dim, back);
    }
    for (std::int64_t i = 0; i < kv_heads * head_dim; ++i) to_v[i] = static_cast<T>(d_v[i]);
  }
}

}  // namespace

void qkv_split_forward(const QkvSplitForwardArgs& args) {
  check(args);
  with_storage_type(args.q.dtype, [&]<typename T>() { forward<T>(args); });
}

void qkv_split_backward(const QkvSplitBackwardArgs& args) {
  check(args);
  with_storage_type(args.d_qkv.dtype, [&]<typename T>() { backward<T>(args); });
}

}  // namespace rondo::reference

// SPDX-License-Identifier: Apache-2.0
// Attention of one block, as formulas: for each query and head, the scores of the visible keys, their softmax, and the merge
// with the carry of earlier blocks. In bf16 the scores and the softmax are fp32, and operands of bf16 products (P and dS) are
// rounded to bf16 once: this is the plain version that fast kernels are compared with.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/reference/loops.hpp"
#include "kernels/reference/operations.hpp"

namespace rondo::reference {

namespace {

/// Calls body(begin, end) for every interval of local keys that the query at global position `position` sees.
template <typename Body>
void for_visible_keys(std::int64_t position, const TokenRuns& key_runs, const AttentionMaskView& mask, Body&& body) {
  const KeyInterval seen = mask.keys_of(position);
  for (const TokenRun& keys : key_runs) {
    const KeyInterval inside = clip_to_run(seen, keys);
    if (inside.begin < inside.end) body(keys.local_first + inside.begin, keys.local_first + inside.end);
  }
}

template <typename T> Accumulator<T> rounded_once(Accumulator<T> value) {
  return static_cast<Accumulator<T>>(static_cast<T>(value));
}

/// (out, lse) <- (out, lse) (+) (block_out, block_lse): the mean of both, weighted with e^lse and e^block_lse.
template <typename Sum> void merge(Sum* out, Sum& lse, const Sum* block_out, Sum block_lse, std::int64_t dim) {
  // Only `lse` can be -inf here, while the carry is empty: its weight is then exp(-inf) = 0.
  const Sum largest = std::max(lse, block_lse);
  const Sum old_part = std::exp(lse - largest), new_part = std::exp(block_lse - largest);
  const Sum both = old_part + new_part;
  for (std::int64_t d = 0; d < dim; ++d) out[d] = (old_part * out[d] + new_part * block_out[d]) / both;
  lse = largest + std::log(both);
}

template <typename T> void forward(Stream& stream, const BlockAttentionForwardArgs& args, const AttentionSizes& sizes) {
  using Sum = Accumulator<T>;
  const auto [num_queries, num_keys, heads, kv_heads, dim] = sizes;
  const auto scale = static_cast<Sum>(args.scale);
  Arena::Scope scope(args.scratch);
  Sum* p = args.scratch.take(dtype_of<Sum>, {num_keys}).template as<Sum>();
  Sum* block_out = args.scratch.take(dtype_of<Sum>, {dim}).template as<Sum>();
  Pace pace(stream);
  for (std::int64_t row = 0; row < num_queries * heads; ++row) {
    const std::int64_t query = row / heads, head = row % heads, group = head / (heads / kv_heads);
    const std::int64_t position = args.query_runs.global_of(query);
    const T* q = args.q.as<T>() + row * dim;
    const auto key_row = [&](const TensorView& keys, std::int64_t j) {
      return keys.as<T>() + (j * kv_heads + group) * dim;
    };

    // s_j = scale q . k_j
    bool sees_keys = false;
    Sum largest = -std::numeric_limits<Sum>::infinity();
    for_visible_keys(position, args.key_runs, args.mask, [&](std::int64_t begin, std::int64_t end) {
      sees_keys = true;
      for (std::int64_t j = begin; j < end; ++j) {
        p[j] = scale * dot<Sum>(q, key_row(args.k, j), dim);
        largest = std::max(largest, p[j]);
        pace.advance(2 * dim);
      }
    });
    if (!sees_keys) continue;  // keeps (0, -inf), never NaN; NaN scores, however, propagate

    // p_j = exp(s_j - max),  block_out = sum of p_j v_j / sum of p_j,  block_lse = max + log(sum of p_j)
    Sum total = 0;
    std::fill_n(block_out, dim, Sum{0});
    for_visible_keys(position, args.key_runs, args.mask, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t j = begin; j < end; ++j) {
        p[j] = std::exp(p[j] - largest);
        total += p[j];
        add_scaled(block_out, rounded_once<T>(p[j]), key_row(args.v, j), dim);
        pace.advance(2 * dim);
      }
    });
    for (std::int64_t d = 0; d < dim; ++d) block_out[d] /= total;
    merge(args.carry.out.as<Sum>() + row * dim, args.carry.lse.as<Sum>()[head * num_queries + query], block_out,
          largest + std::log(total), dim);
  }
}

template <typename T>
void backward(Stream& stream, const BlockAttentionBackwardArgs& args, const AttentionSizes& sizes) {
  using Sum = Accumulator<T>;
  const auto [num_queries, num_keys, heads, kv_heads, dim] = sizes;
  const auto scale = static_cast<Sum>(args.scale);
  Pace pace(stream);
  for (std::int64_t row = 0; row < num_queries * heads; ++row) {
    const std::int64_t query = row / heads, head = row % heads, group = head / (heads / kv_heads);
    const T* q = args.q.as<T>() + row * dim;
    const T* d_out = args.d_out.as<T>() + row * dim;
    Sum* d_q = args.d_q.as<Sum>() + row * dim;
    const Sum lse = args.lse.as<Sum>()[head * num_queries + query];
    const Sum delta = args.delta.as<Sum>()[head * num_queries + query];
    const auto add_keys = [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t j = begin; j < end; ++j) {
        const std::int64_t key = (j * kv_heads + group) * dim;
        const T* k = args.k.as<T>() + key;
        const T* v = args.v.as<T>() + key;
        // p = exp(scale q . k - lse),  ds = p (d_out . v - delta)
        const Sum p = std::exp(scale * dot<Sum>(q, k, dim) - lse);
        const Sum ds = rounded_once<T>(p * (dot<Sum>(d_out, v, dim) - delta));
        // d_v += p d_out,  d_q += scale ds k,  d_k += scale ds q
        add_scaled(args.d_v.as<Sum>() + key, rounded_once<T>(p), d_out, dim);
        add_scaled(d_q, scale * ds, k, dim);
        add_scaled(args.d_k.as<Sum>() + key, scale * ds, q, dim);
        pace.advance(5 * dim);
      }
    };
    for_visible_keys(args.query_runs.global_of(query), args.key_runs, args.mask, add_keys);
  }
}

}  // namespace

void block_attention_forward(Stream& stream, const BlockAttentionForwardArgs& args) {
  const AttentionSizes sizes = check(args);
  with_storage_type(args.q.dtype, [&]<typename T>() { forward<T>(stream, args, sizes); });
}

void block_attention_backward(Stream& stream, const BlockAttentionBackwardArgs& args) {
  const AttentionSizes sizes = check(args);
  with_storage_type(args.q.dtype, [&]<typename T>() { backward<T>(stream, args, sizes); });
}

void attention_delta(const AttentionDeltaArgs& args) {
  check(args);
  const std::int64_t tokens = args.out.shape[0], heads = args.out.shape[1], dim = args.out.shape[2];
  with_storage_type(args.d_out.dtype, [&]<typename T>() {
    using Sum = Accumulator<T>;
    for (std::int64_t row = 0; row < tokens * heads; ++row) {
      const std::int64_t t = row / heads, n = row % heads;
      args.delta.as<Sum>()[n * tokens + t] =
          dot<Sum>(args.out.as<Sum>() + row * dim, args.d_out.as<T>() + row * dim, dim);
    }
  });
}

}  // namespace rondo::reference

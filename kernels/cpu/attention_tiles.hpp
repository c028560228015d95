// SPDX-License-Identifier: Apache-2.0
// Attention of one tile of rows to one tile of keys in fp32 vectors. Scores are kept transposed [key, row], so that a vector
// holds one key and many rows: running maximum and sum need no reduction across a vector, and a mask takes two comparisons.
// Included only by the files that are compiled once for each instruction set.
#pragma once

#include "kernels/cpu/kernel_table.hpp"
#include "kernels/cpu/product.hpp"
#include "kernels/cpu/vector_math.hpp"

namespace rondo::cpu {
namespace {

// Tile sizes, all in one place. 3 vectors of rows with 8 (AVX-512) or 4 (AVX2) keys fill the registers in the score
// product; 96 keys are a multiple of every register block (4, 6, 8, 12), and 96 x 48 scores (18 KiB) stay in L1.
template <class V> struct AttentionTiles {
  static constexpr int kRowVectors = 3;
  static constexpr int kRows = kRowVectors * V::kWidth;
  static constexpr int kKeys = 96;
  static constexpr int kSlack = 12;  // rows that a last register block may touch beyond the end
  static constexpr int kWholeBlocks =
      24;  // a multiple of every register block: with such row counts none goes beyond the end

  static std::size_t floats(std::size_t rows, int columns) {
    return (rows + kSlack) * static_cast<std::size_t>(columns) * sizeof(float);
  }

  // Packed queries: q transposed [D, kRows].
  // Packed query gradients: q^T [D, kRows], d_out^T [D, kRows], q [kRows, P], d_out [kRows, P].
  // Packed keys: k [capacity, P], v. Packed key gradients: k, v, d_k, d_v.
  static AttentionSizesBytes sizes(AttentionDims dims, int forward_keys, int backward_keys) {
    const std::size_t transposed = static_cast<std::size_t>(dims.padded_dim) * kRows * sizeof(float);
    const std::size_t straight = floats(kRows, dims.padded_dim);
    const int most = forward_keys > backward_keys ? forward_keys : backward_keys;
    return {.queries = transposed,
            .query_gradients = 2 * (transposed + straight),
            .keys = 2 * floats(static_cast<std::size_t>(forward_keys), dims.padded_dim),
            .key_gradients = 4 * floats(static_cast<std::size_t>(backward_keys), dims.padded_dim),
            .out = straight,
            .work = 2 * floats(static_cast<std::size_t>(most), kRows)};
  }

  // ---- packing ----

  template <class S> static void transpose_rows(AttentionDims dims, const void* const* rows, int count, float* to) {
    constexpr int w = V::kWidth;
    for (int r = 0; r < kRows; r += w) {
      for (int d = 0; d < dims.head_dim; d += w) {
        const int columns = dims.head_dim - d < w ? dims.head_dim - d : w;
        typename V::Float square[w];
        for (int i = 0; i < w; ++i) {
          if (r + i >= count) {
            square[i] = V::zero();
          } else {
            const S* from = static_cast<const S*>(rows[r + i]) + d;
            square[i] = columns == w ? V::load(from) : V::load_first(from, columns);
          }
        }
        V::transpose(square);
        for (int i = 0; i < columns; ++i) V::store(to + (d + i) * kRows + r, square[i]);
      }
    }
  }

  /// One row, widened and padded with zeros. Null: all zeros.
  template <class S> static void widen_row(AttentionDims dims, const void* row, float* to) {
    constexpr int w = V::kWidth;
    const S* from = static_cast<const S*>(row);
    int d = 0;
    if (from != nullptr) {
      for (; d + w <= dims.head_dim; d += w) V::store(to + d, V::load(from + d));
      if (d < dims.head_dim) {
        V::store(to + d, V::load_first(from + d, dims.head_dim - d));
        d += w;
      }
    }
    for (; d < dims.padded_dim; d += w) V::store(to + d, V::zero());
  }

  static void pack_queries(AttentionDims dims, Storage type, const void* const* rows, int count, void* packed) {
    float* to = static_cast<float*>(packed);
    if (type == Storage::Fp32) transpose_rows<float>(dims, rows, count, to);
    if (type == Storage::Bf16) transpose_rows<Bf16Bits>(dims, rows, count, to);
  }

  template <class S>
  static void widen_rows(AttentionDims dims, const void* first, std::ptrdiff_t row_elements, int count, int capacity,
                         float* to) {
    for (int i = 0; i < capacity; ++i) {
      const S* from = i < count ? static_cast<const S*>(first) + i * row_elements : nullptr;
      widen_row<S>(dims, from, to + static_cast<std::ptrdiff_t>(i) * dims.padded_dim);
    }
  }

  static std::ptrdiff_t key_floats(AttentionDims dims, int capacity) {
    return static_cast<std::ptrdiff_t>(capacity + kSlack) * dims.padded_dim;
  }

  static void pack_keys(AttentionDims dims, Storage type, const void* k, const void* v, std::ptrdiff_t row_elements,
                        int count, void* packed, int capacity) {
    float* keys = static_cast<float*>(packed);
    float* values = keys + key_floats(dims, capacity);
    const auto widen = type == Storage::Fp32 ? widen_rows<float> : widen_rows<Bf16Bits>;
    widen(dims, k, row_elements, count, count, keys);
    widen(dims, v, row_elements, count, count, values);
  }

  static void pack_query_gradients(AttentionDims dims, Storage type, const void* const* q, const void* const* d_out,
                                   int count, void* packed) {
    const std::ptrdiff_t transposed = static_cast<std::ptrdiff_t>(dims.padded_dim) * kRows;
    const std::ptrdiff_t straight = static_cast<std::ptrdiff_t>(kRows + kSlack) * dims.padded_dim;
    float* to = static_cast<float*>(packed);
    const void* const* sources[2] = {q, d_out};
    for (int s = 0; s < 2; ++s) {
      float* rows = to + 2 * transposed + s * straight;
      if (type == Storage::Fp32) transpose_rows<float>(dims, sources[s], count, to + s * transposed);
      if (type == Storage::Bf16) transpose_rows<Bf16Bits>(dims, sources[s], count, to + s * transposed);
      for (int i = 0; i < kRows; ++i) {
        const void* row = i < count ? sources[s][i] : nullptr;
        if (type == Storage::Fp32) widen_row<float>(dims, row, rows + i * dims.padded_dim);
        if (type == Storage::Bf16) widen_row<Bf16Bits>(dims, row, rows + i * dims.padded_dim);
      }
    }
  }

  static void pack_key_gradients(AttentionDims dims, Storage type, const void* k, const void* v,
                                 std::ptrdiff_t row_elements, int count, void* packed, int capacity) {
    pack_keys(dims, type, k, v, row_elements, count, packed, capacity);
    float* sums = static_cast<float*>(packed) + 2 * key_floats(dims, capacity);
    for (std::ptrdiff_t i = 0; i < 2 * key_floats(dims, capacity); i += V::kWidth) V::store(sums + i, V::zero());
  }

  /// A product whose left factor is 0 for pairs that do not attend. Infinity and NaN of the right factor must not be multiplied
  /// with these zeros.
  template <bool kDepthContiguous, Into kInto>
  static void pair_product(const ProductArgs& p, int rows, int vectors, int depth, bool has_masked_pairs) {
    if (has_masked_pairs && !all_finite<V>(p.b, depth * p.b_depth)) {
      product_of_nonzero<V, kDepthContiguous, kInto>(p, rows, vectors, depth);
    } else {
      product<V, kDepthContiguous, kInto>(p, rows, vectors, depth);
    }
  }

  // ---- forward ----

  static void load_out(AttentionDims dims, const float* const* rows, int count, float* out) {
    for (int i = 0; i < kRows; ++i) {
      widen_row<float>(dims, i < count ? rows[i] : nullptr, out + i * dims.padded_dim);
    }
  }

  static void store_out(AttentionDims dims, float* const* rows, int count, const float* out, const float* factor) {
    constexpr int w = V::kWidth;
    for (int i = 0; i < count; ++i) {
      const auto f = V::broadcast(factor[i]);
      const float* from = out + i * dims.padded_dim;
      int d = 0;
      for (; d + w <= dims.head_dim; d += w) V::store(rows[i] + d, V::mul(f, V::load(from + d)));
      if (d < dims.head_dim) V::store_first(rows[i] + d, V::mul(f, V::load(from + d)), dims.head_dim - d);
    }
  }

  // c [keys, kRows] <- a b
  static void score_product(ProductArgs p, int keys, int head_dim) {
    const int first = first_terms(head_dim);
    product<V, true, Into::Set>(p, keys, kRowVectors, first);
    p.a += first;
    p.b += first * p.b_depth;
    product<V, true, Into::Add>(p, keys, kRowVectors, head_dim - first);
  }

  // scores[key, row] <- exp(scale scores - new maximum), 0 where not visible. rescale[row] is the factor for the sums so far.
  template <bool kMasked> static void soften(const ForwardTile& tile, float* scores, float* rescale) {
    const float minus_infinity = -__builtin_inff();
    const auto scale = V::broadcast(tile.scale);
    for (int j = 0; j < kRowVectors; ++j) {
      const int lane = j * V::kWidth;
      float* column = scores + lane;
      auto most = V::broadcast(minus_infinity);
      for (int k = 0; k < tile.num_keys; ++k) {
        auto s = V::load(column + k * kRows);
        if constexpr (kMasked) {
          const auto seen = V::inside(tile.visible.begin + lane, tile.visible.end + lane, tile.first_key + k);
          s = V::select(seen, s, V::broadcast(minus_infinity));
          V::store(column + k * kRows, s);
        }
        most = V::max(s, most);  // in this operand order NaN does not enter the maximum; it reaches the sum
      }
      const auto before = V::load(tile.maximum + lane);
      const auto now = V::max(V::mul(most, scale), before);
      // A row that has seen no key keeps the maximum -inf; a finite shift replaces it, so that no -inf - -inf is formed.
      const auto lowest = V::broadcast(-1.0e30F);
      const auto shift = V::max(now, lowest);
      auto sum = V::zero();
      for (int k = 0; k < tile.num_keys; ++k) {
        // No fma here: the largest score must give exactly 1, also where scores are large.
        auto p = exponential<V>(V::sub(V::mul(V::load(column + k * kRows), scale), shift));
        if constexpr (kMasked) {
          const auto seen = V::inside(tile.visible.begin + lane, tile.visible.end + lane, tile.first_key + k);
          p = V::select(seen, p, V::zero());
        }
        sum = V::add(sum, p);
        V::store(column + k * kRows, p);
      }
      const auto shrink = exponential<V>(V::sub(V::max(before, lowest), shift));
      V::store(rescale + lane, shrink);
      V::store(tile.maximum + lane, now);
      V::store(tile.sum + lane, V::fma(V::load(tile.sum + lane), shrink, sum));
    }
  }

  static void forward(const ForwardTile& tile) {
    const int padded = tile.dims.padded_dim;
    const std::ptrdiff_t used = static_cast<std::ptrdiff_t>(tile.first_row) * padded;
    const float* keys = static_cast<const float*>(tile.keys) + used;
    const float* values = keys + key_floats(tile.dims, tile.capacity);
    float* scores = static_cast<float*>(tile.work);
    alignas(64) float rescale[kRows + kSlack];
    for (int i = kRows; i < kRows + kSlack; ++i) rescale[i] = 0;
    // scores <- k q^T
    score_product({.a = keys,
                   .a_row = padded,
                   .a_depth = 1,
                   .b = static_cast<const float*>(tile.queries),
                   .b_depth = kRows,
                   .c = scores,
                   .c_row = kRows,
                   .row_scale = nullptr},
                  tile.num_keys, tile.dims.head_dim);
    // scores <- probabilities, relative to the running maximum
    if (tile.visible.begin != nullptr) {
      soften<true>(tile, scores, rescale);
    } else {
      soften<false>(tile, scores, rescale);
    }
    // out <- rescale out + p v
    pair_product<false, Into::ScaleAndAdd>({.a = scores,
                                            .a_row = 1,
                                            .a_depth = kRows,
                                            .b = values,
                                            .b_depth = padded,
                                            .c = tile.out,
                                            .c_row = padded,
                                            .row_scale = rescale},
                                           kRows, padded / V::kWidth, tile.num_keys, tile.visible.begin != nullptr);
  }

  // ---- backward ----

  // p[key, row] <- exp(scale scores - lse), d_scores <- scale p (d_p - delta); 0 where not visible.
  template <bool kMasked> static void differentiate(const BackwardTile& tile, float* p, float* d_scores) {
    const auto scale = V::broadcast(tile.scale);
    for (int j = 0; j < kRowVectors; ++j) {
      const int lane = j * V::kWidth;
      const auto lse = V::load(tile.lse + lane);
      const auto delta = V::load(tile.delta + lane);
      for (int k = 0; k < tile.num_keys; ++k) {
        float* at = p + k * kRows + lane;
        float* d_at = d_scores + k * kRows + lane;
        auto probability = exponential<V>(V::sub(V::mul(V::load(at), scale), lse));
        auto d_score = V::mul(V::mul(probability, scale), V::sub(V::load(d_at), delta));
        if constexpr (kMasked) {
          const auto seen = V::inside(tile.visible.begin + lane, tile.visible.end + lane, tile.first_key + k);
          probability = V::select(seen, probability, V::zero());
          d_score = V::select(seen, d_score, V::zero());
        }
        V::store(at, probability);
        V::store(d_at, d_score);
      }
      // The last register block of the sums below reads beyond the last key, where it must find zeros.
      for (int k = tile.num_keys; k < tile.num_keys + kSlack; ++k) {
        V::store(p + k * kRows + lane, V::zero());
        V::store(d_scores + k * kRows + lane, V::zero());
      }
    }
  }

  static void backward(const BackwardTile& tile) {
    const int padded = tile.dims.padded_dim;
    const std::ptrdiff_t transposed = static_cast<std::ptrdiff_t>(padded) * kRows;
    const std::ptrdiff_t all_keys = key_floats(tile.dims, tile.capacity);
    const float* queries_t = static_cast<const float*>(tile.queries);
    const float* d_out_t = queries_t + transposed;
    const float* queries = d_out_t + transposed;
    const float* d_out = queries + static_cast<std::ptrdiff_t>(kRows + kSlack) * padded;
    float* keys = static_cast<float*>(tile.keys) + static_cast<std::ptrdiff_t>(tile.first_row) * padded;
    const float* values = keys + all_keys;
    float* d_keys = keys + 2 * all_keys;
    float* d_values = keys + 3 * all_keys;
    float* p = static_cast<float*>(tile.work);
    float* d_scores = p + static_cast<std::ptrdiff_t>(tile.capacity + kSlack) * kRows;
    // p <- k q^T, d_scores <- v d_out^T
    ProductArgs scores{.a = keys,
                       .a_row = padded,
                       .a_depth = 1,
                       .b = queries_t,
                       .b_depth = kRows,
                       .c = p,
                       .c_row = kRows,
                       .row_scale = nullptr};
    score_product(scores, tile.num_keys, tile.dims.head_dim);
    scores.a = values, scores.b = d_out_t, scores.c = d_scores;
    score_product(scores, tile.num_keys, tile.dims.head_dim);
    if (tile.visible.begin != nullptr) {
      differentiate<true>(tile, p, d_scores);
    } else {
      differentiate<false>(tile, p, d_scores);
    }
    // The zeros beyond the last key are also masked pairs if a last register block adds them to the keys that follow.
    const bool has_masked_pairs = tile.visible.begin != nullptr || tile.num_keys % kWholeBlocks != 0;
    // d_v += p^T d_out, d_k += d_scores^T q (both stored [key, row] already)
    const int vectors = padded / V::kWidth;
    ProductArgs sums{.a = p,
                     .a_row = kRows,
                     .a_depth = 1,
                     .b = d_out,
                     .b_depth = padded,
                     .c = d_values,
                     .c_row = padded,
                     .row_scale = nullptr};
    pair_product<true, Into::Add>(sums, tile.num_keys, vectors, kRows, has_masked_pairs);
    sums.a = d_scores, sums.b = queries, sums.c = d_keys;
    pair_product<true, Into::Add>(sums, tile.num_keys, vectors, kRows, has_masked_pairs);
    // d_q <- d_scores k
    pair_product<false, Into::Set>({.a = d_scores,
                                    .a_row = 1,
                                    .a_depth = kRows,
                                    .b = keys,
                                    .b_depth = padded,
                                    .c = tile.d_queries,
                                    .c_row = padded,
                                    .row_scale = nullptr},
                                   kRows, vectors, tile.num_keys, has_masked_pairs);
  }

  static void add_row(AttentionDims dims, float* to, const float* from) {
    constexpr int w = V::kWidth;
    int d = 0;
    for (; d + w <= dims.head_dim; d += w) V::store(to + d, V::add(V::load(to + d), V::load(from + d)));
    if (d < dims.head_dim) {
      const int rest = dims.head_dim - d;
      V::store_first(to + d, V::add(V::load_first(to + d, rest), V::load(from + d)), rest);
    }
  }

  static void add_queries(AttentionDims dims, float* const* rows, int count, const float* d_queries) {
    for (int i = 0; i < count; ++i) add_row(dims, rows[i], d_queries + i * dims.padded_dim);
  }

  static void add_keys(AttentionDims dims, const void* packed, int capacity, float* d_k, float* d_v,
                       std::ptrdiff_t row_elements, int count) {
    const float* d_keys = static_cast<const float*>(packed) + 2 * key_floats(dims, capacity);
    const float* d_values = d_keys + key_floats(dims, capacity);
    for (int i = 0; i < count; ++i) {
      add_row(dims, d_k + i * row_elements, d_keys + i * dims.padded_dim);
      add_row(dims, d_v + i * row_elements, d_values + i * dims.padded_dim);
    }
  }

  static AttentionKernels table() {
    return {.query_tile = kRows,
            .key_tile = kKeys,
            .key_multiple = 1,
            .dim_multiple = V::kWidth,
            .sizes = sizes,
            .pack_queries = pack_queries,
            .pack_keys = pack_keys,
            .load_out = load_out,
            .store_out = store_out,
            .forward = forward,
            .pack_query_gradients = pack_query_gradients,
            .pack_key_gradients = pack_key_gradients,
            .backward = backward,
            .add_queries = add_queries,
            .add_keys = add_keys};
  }
};

}  // namespace
}  // namespace rondo::cpu

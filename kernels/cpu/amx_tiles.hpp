// SPDX-License-Identifier: Apache-2.0
// bf16 attention on matrix tiles (AMX). As in attention_tiles.hpp scores are kept transposed [key, row], so the softmax is
// the same; operands of products are packed for amx_products.hpp. Included only by files compiled for AVX-512.
#pragma once

#include "kernels/cpu/amx_products.hpp"
#include "kernels/cpu/kernel_table.hpp"
#include "kernels/cpu/vector_avx512.hpp"
#include "kernels/cpu/vector_math.hpp"

namespace rondo::cpu {
namespace {

template <class Tiles> struct AmxAttention {
  using V = Avx512;
  using Products = AmxProducts<Tiles>;
  static constexpr int kRows = 64;   // of a query tile: two pairs of tile columns
  static constexpr int kKeys = 128;  // of a forward key tile
  static constexpr int kTerms = Products::kTerms;
  static constexpr int kRowVectors = kRows / V::kWidth;

  static std::ptrdiff_t rounded(std::ptrdiff_t n) { return (n + kTerms - 1) / kTerms * kTerms; }

  // ---- packing ----

  static __m512i load_row(const Bf16Bits* row, int elements) {
    return elements >= 32 ? _mm512_loadu_si512(row)
                          : _mm512_maskz_loadu_epi16(elements <= 0 ? 0U : (1U << elements) - 1U, row);
  }
  static const Bf16Bits* row_of(const void* const* rows, int i, int count) {
    return i < count ? static_cast<const Bf16Bits*>(rows[i]) : nullptr;
  }

  /// [dim / 2, kRows, 2]: pairs of dimensions, one lane per row. Squares of 16 rows x 16 pairs are transposed as 32-bit words.
  static void pack_dimension_pairs(AttentionDims dims, const void* const* rows, int count, Bf16Bits* to) {
    for (int r = 0; r < kRows; r += 16) {
      for (int d = 0; d < dims.padded_dim; d += 32) {
        V::Float square[16];
        for (int i = 0; i < 16; ++i) {
          const Bf16Bits* row = row_of(rows, r + i, count);
          square[i] = row == nullptr ? V::zero() : _mm512_castsi512_ps(load_row(row + d, dims.head_dim - d));
        }
        V::transpose(square);
        for (int i = 0; i < 16; ++i) {
          _mm512_storeu_ps(reinterpret_cast<float*>(to + 2 * ((d / 2 + i) * kRows + r)), square[i]);
        }
      }
    }
  }

  static __m512i widen(const Bf16Bits* row, int elements) {
    if (row == nullptr || elements <= 0) return _mm512_setzero_si512();
    const auto mask = static_cast<__mmask16>(elements >= 16 ? 0xffffU : (1U << elements) - 1U);
    return _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, row));
  }
  /// Sixteen pairs (upper row, lower row) of equal columns.
  static __m512i pair_rows(const Bf16Bits* even, const Bf16Bits* odd, int d, int elements) {
    const __m512i low = widen(even == nullptr ? nullptr : even + d, elements);
    const __m512i high = widen(odd == nullptr ? nullptr : odd + d, elements);
    return _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
  }

  /// [kRows / 2, dim, 2]: pairs of rows.
  static void pack_row_pairs(AttentionDims dims, const void* const* rows, int count, Bf16Bits* to) {
    for (int r = 0; r < kRows; r += 2) {
      for (int d = 0; d < dims.padded_dim; d += 16) {
        const __m512i pairs = pair_rows(row_of(rows, r, count), row_of(rows, r + 1, count), d, dims.head_dim - d);
        _mm512_storeu_si512(to + static_cast<std::ptrdiff_t>(r / 2) * 2 * dims.padded_dim + 2 * d, pairs);
      }
    }
  }

  /// [capacity, dim] with zeros after the last row and dimension.
  static void copy_rows(AttentionDims dims, const Bf16Bits* from, std::ptrdiff_t row_elements, int count, int capacity,
                        Bf16Bits* to) {
    for (int i = 0; i < capacity; ++i) {
      for (int d = 0; d < dims.padded_dim; d += 32) {
        const __m512i part =
            i < count ? load_row(from + i * row_elements + d, dims.head_dim - d) : _mm512_setzero_si512();
        _mm512_storeu_si512(to + static_cast<std::ptrdiff_t>(i) * dims.padded_dim + d, part);
      }
    }
  }

  /// [dim, capacity]: keys consecutive. Pairs of keys are joined into 32-bit words, which are transposed in squares.
  static void transpose_rows(AttentionDims dims, const Bf16Bits* from, std::ptrdiff_t row_elements, int count,
                             int capacity, Bf16Bits* to) {
    const auto row = [&](int i) { return i < count ? from + i * row_elements : nullptr; };
    for (int k = 0; k < capacity; k += 32) {
      for (int d = 0; d < dims.padded_dim; d += 16) {
        V::Float square[16];
        for (int i = 0; i < 16; ++i) {
          square[i] = _mm512_castsi512_ps(pair_rows(row(k + 2 * i), row(k + 2 * i + 1), d, dims.head_dim - d));
        }
        V::transpose(square);
        for (int i = 0; i < 16; ++i) {
          _mm512_storeu_ps(reinterpret_cast<float*>(to + static_cast<std::ptrdiff_t>(d + i) * capacity + k), square[i]);
        }
      }
    }
  }

  // Packed queries: q by dimension pairs. Packed keys: k [capacity, P], v^T [P, capacity].
  static std::ptrdiff_t row_block(AttentionDims dims) { return static_cast<std::ptrdiff_t>(kRows) * dims.padded_dim; }
  static std::ptrdiff_t key_block(AttentionDims dims, int capacity) {
    return static_cast<std::ptrdiff_t>(capacity) * dims.padded_dim;
  }

  static AttentionSizesBytes sizes(AttentionDims dims, int forward_keys, int backward_keys) {
    const auto rows = static_cast<std::size_t>(row_block(dims));
    const auto keys = static_cast<std::size_t>(key_block(dims, backward_keys));
    const auto most = static_cast<std::size_t>(forward_keys > backward_keys ? forward_keys : backward_keys);
    return {.queries = 2 * rows,
            .query_gradients = 4 * 2 * rows,
            .keys = 2 * 2 * static_cast<std::size_t>(key_block(dims, forward_keys)),
            .key_gradients = (3 * 2 + 2 * 4) * keys,
            .out = 4 * rows,
            .work = most * kRows * (2 * 4 + 3 * 2)};
  }

  static void pack_queries(AttentionDims dims, Storage, const void* const* rows, int count, void* packed) {
    pack_dimension_pairs(dims, rows, count, static_cast<Bf16Bits*>(packed));
  }
  static void pack_keys(AttentionDims dims, Storage, const void* k, const void* v, std::ptrdiff_t row_elements,
                        int count, void* packed, int capacity) {
    auto* to = static_cast<Bf16Bits*>(packed);
    const int used = static_cast<int>(rounded(count));
    copy_rows(dims, static_cast<const Bf16Bits*>(k), row_elements, count, used, to);
    transpose_rows(dims, static_cast<const Bf16Bits*>(v), row_elements, count, capacity,
                   to + key_block(dims, capacity));
  }
  // Packed query gradients: q and d_out by dimension pairs, q and d_out by row pairs.
  static void pack_query_gradients(AttentionDims dims, Storage, const void* const* q, const void* const* d_out,
                                   int count, void* packed) {
    auto* to = static_cast<Bf16Bits*>(packed);
    pack_dimension_pairs(dims, q, count, to);
    pack_dimension_pairs(dims, d_out, count, to + row_block(dims));
    pack_row_pairs(dims, q, count, to + 2 * row_block(dims));
    pack_row_pairs(dims, d_out, count, to + 3 * row_block(dims));
  }
  // Packed key gradients: d_k, d_v in fp32 [capacity, P], then k, v [capacity, P], k^T [P, capacity].
  static void pack_key_gradients(AttentionDims dims, Storage, const void* k, const void* v, std::ptrdiff_t row_elements,
                                 int count, void* packed, int capacity) {
    const std::ptrdiff_t block = key_block(dims, capacity);
    auto* sums = static_cast<float*>(packed);
    for (std::ptrdiff_t i = 0; i < 2 * block; i += V::kWidth) V::store(sums + i, V::zero());
    auto* to = reinterpret_cast<Bf16Bits*>(sums + 2 * block);
    copy_rows(dims, static_cast<const Bf16Bits*>(k), row_elements, count, capacity, to);
    copy_rows(dims, static_cast<const Bf16Bits*>(v), row_elements, count, capacity, to + block);
    transpose_rows(dims, static_cast<const Bf16Bits*>(k), row_elements, count, capacity, to + 2 * block);
  }

  // ---- fp32 squares, from and to rows of the caller and [P, kRows] ----

  static void load_out(AttentionDims dims, const float* const* rows, int count, float* out) {
    for (int r = 0; r < kRows; r += 16) {
      for (int d = 0; d < dims.padded_dim; d += 16) {
        V::Float square[16];
        const int columns = dims.head_dim - d < 16 ? dims.head_dim - d : 16;
        for (int i = 0; i < 16; ++i) {
          square[i] = r + i < count && columns > 0 ? V::load_first(rows[r + i] + d, columns) : V::zero();
        }
        V::transpose(square);
        for (int i = 0; i < 16; ++i) V::store(out + (d + i) * kRows + r, square[i]);
      }
    }
  }

  /// rows[i] = or += factor[i] * column i of from; factor may be null: 1.
  template <bool kAdd>
  static void store_columns(AttentionDims dims, float* const* rows, int count, const float* from, const float* factor) {
    for (int r = 0; r < count; r += 16) {
      for (int d = 0; d < dims.head_dim; d += 16) {
        V::Float square[16];
        const int columns = dims.head_dim - d < 16 ? dims.head_dim - d : 16;
        for (int i = 0; i < 16; ++i) square[i] = V::load(from + (d + i) * kRows + r);
        V::transpose(square);
        for (int i = 0; i < 16 && r + i < count; ++i) {
          float* to = rows[r + i] + d;
          auto x = square[i];
          if (factor != nullptr) x = V::mul(x, V::broadcast(factor[r + i]));
          if constexpr (kAdd) x = V::add(V::load_first(to, columns), x);
          V::store_first(to, x, columns);
        }
      }
    }
  }
  static void store_out(AttentionDims dims, float* const* rows, int count, const float* out, const float* factor) {
    store_columns<false>(dims, rows, count, out, factor);
  }
  static void add_queries(AttentionDims dims, float* const* rows, int count, const float* d_queries) {
    store_columns<true>(dims, rows, count, d_queries, nullptr);
  }
  static void add_keys(AttentionDims dims, const void* packed, int capacity, float* d_k, float* d_v,
                       std::ptrdiff_t row_elements, int count) {
    const auto* sums = static_cast<const float*>(packed);
    for (int i = 0; i < 2 * count; ++i) {
      const int row = i / 2;
      float* to = (i % 2 == 0 ? d_k : d_v) + row * row_elements;
      const float* from =
          sums + (i % 2) * key_block(dims, capacity) + static_cast<std::ptrdiff_t>(row) * dims.padded_dim;
      for (int d = 0; d < dims.head_dim; d += 16) {
        const int columns = dims.head_dim - d < 16 ? dims.head_dim - d : 16;
        V::store_first(to + d, V::add(V::load_first(to + d, columns), V::load(from + d)), columns);
      }
    }
  }

  // ---- softmax ----

  /// To bf16, nearest, ties away from zero: one rounding of probabilities and of d_scores.
  static __m512i half_added(V::Float x) { return _mm512_add_epi32(_mm512_castps_si512(x), _mm512_set1_epi32(0x8000)); }
  static __m512i join(V::Float even, V::Float odd) {
    const __m512i upper = _mm512_and_si512(half_added(odd), _mm512_set1_epi32(static_cast<int>(0xffff0000U)));
    return _mm512_or_si512(_mm512_srli_epi32(half_added(even), 16), upper);
  }
  static void store_narrow(Bf16Bits* to, V::Float x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi32_epi16(_mm512_srli_epi32(half_added(x), 16)));
  }

  template <class Tile> static V::Mask seen(const Tile& tile, int lane, int k) {
    if (tile.visible.begin == nullptr) return static_cast<V::Mask>(k < tile.num_keys ? 0xffffU : 0U);
    const V::Mask inside = V::inside(tile.visible.begin + lane, tile.visible.end + lane, tile.first_key + k);
    return k < tile.num_keys ? inside : static_cast<V::Mask>(0);
  }

  // p by key pairs [keys / 2, kRows, 2] <- exp(scale scores - new maximum), 0 if not visible. @returns whether any sum shrinks
  static bool soften(const ForwardTile& tile, const float* scores, Bf16Bits* p, float* rescale) {
    const auto scale = V::broadcast(tile.scale);
    const auto lowest = V::broadcast(-1.0e30F), minus_infinity = V::broadcast(-__builtin_inff());
    const int keys = static_cast<int>(rounded(tile.num_keys));
    bool shrinks = false;
    for (int j = 0; j < kRowVectors; ++j) {
      const int lane = j * V::kWidth;
      const float* column = scores + lane;
      auto most = minus_infinity;
      for (int k = 0; k < tile.num_keys; ++k) {
        // in this operand order NaN does not enter the maximum; it reaches the sum
        most = V::max(V::select(seen(tile, lane, k), V::load(column + k * kRows), minus_infinity), most);
      }
      const auto before = V::load(tile.maximum + lane);
      const auto now = V::max(V::mul(most, scale), before);
      const auto shift = V::max(now, lowest);
      auto sum = V::zero();
      const auto power = [&](int k) {
        const auto x = exponential<V>(V::sub(V::mul(V::load(column + k * kRows), scale), shift));
        return V::select(seen(tile, lane, k), x, V::zero());
      };
      for (int k = 0; k < keys; k += 2) {
        const auto even = power(k), odd = power(k + 1);
        sum = V::add(sum, V::add(even, odd));
        _mm512_storeu_si512(p + static_cast<std::ptrdiff_t>(k) * kRows + 2 * lane, join(even, odd));
      }
      const auto shrink = exponential<V>(V::sub(V::max(before, lowest), shift));
      shrinks = shrinks || _mm512_cmp_ps_mask(shrink, V::broadcast(1.0F), _CMP_NEQ_UQ) != 0;
      V::store(rescale + lane, shrink);
      V::store(tile.maximum + lane, now);
      V::store(tile.sum + lane, V::fma(V::load(tile.sum + lane), shrink, sum));
    }
    return shrinks;
  }

  /// Keys after the last one, up to a whole tile, are masked for all rows.
  template <class Tile> static bool has_masked_pairs(const Tile& tile) {
    return tile.visible.begin != nullptr || tile.num_keys % kTerms != 0;
  }

  static void forward(const ForwardTile& tile) {
    const int padded = tile.dims.padded_dim;
    const auto* keys = static_cast<const Bf16Bits*>(tile.keys);
    const Bf16Bits* values_t = keys + key_block(tile.dims, tile.capacity) + tile.first_row;
    keys += static_cast<std::ptrdiff_t>(tile.first_row) * padded;
    auto* scores = static_cast<float*>(tile.work);
    auto* p = reinterpret_cast<Bf16Bits*>(scores + static_cast<std::ptrdiff_t>(tile.capacity) * kRows);
    const std::ptrdiff_t used = rounded(tile.num_keys);
    alignas(64) float rescale[kRows];
    Tiles::configure();
    // scores <- k q^T
    Products::template product<false>(
        {keys, padded, static_cast<const Bf16Bits*>(tile.queries), 2 * kRows, scores, kRows}, used, kRows, padded);
    if (soften(tile, scores, p, rescale)) {
      for (int d = 0; d < padded; ++d) {
        for (int lane = 0; lane < kRows; lane += V::kWidth) {
          float* at = tile.out + static_cast<std::ptrdiff_t>(d) * kRows + lane;
          V::store(at, V::mul(V::load(at), V::load(rescale + lane)));
        }
      }
    }
    // out^T += v^T p
    Products::template weight_columns<true>({values_t, tile.capacity, p, 2 * kRows, tile.out, kRows}, padded, kRows,
                                            static_cast<int>(used), has_masked_pairs(tile));
    Tiles::release();
  }

  // ---- backward ----

  struct BackwardWork {
    float* scores;  // [capacity, kRows] then d_probabilities
    float* d_p;
    Bf16Bits* p;          // [capacity, kRows]
    Bf16Bits* d_s;        // [capacity, kRows]
    Bf16Bits* d_s_pairs;  // [capacity / 2, kRows, 2]
    BackwardWork(void* work, int capacity) {
      const std::ptrdiff_t block = static_cast<std::ptrdiff_t>(capacity) * kRows;
      scores = static_cast<float*>(work);
      d_p = scores + block;
      p = reinterpret_cast<Bf16Bits*>(d_p + block);
      d_s = p + block;
      d_s_pairs = d_s + block;
    }
  };

  static void differentiate(const BackwardTile& tile, const BackwardWork& work, int keys) {
    const auto scale = V::broadcast(tile.scale);
    for (int lane = 0; lane < kRows; lane += V::kWidth) {
      const auto lse = V::load(tile.lse + lane), delta = V::load(tile.delta + lane);
      const auto one = [&](int k) {
        const std::ptrdiff_t at = static_cast<std::ptrdiff_t>(k) * kRows + lane;
        auto p = exponential<V>(V::sub(V::mul(V::load(work.scores + at), scale), lse));
        auto d_s = V::mul(V::mul(p, scale), V::sub(V::load(work.d_p + at), delta));
        const V::Mask attends = seen(tile, lane, k);
        p = V::select(attends, p, V::zero());
        d_s = V::select(attends, d_s, V::zero());
        store_narrow(work.p + at, p);
        store_narrow(work.d_s + at, d_s);
        return d_s;
      };
      for (int k = 0; k < keys; k += 2) {
        const auto even = one(k), odd = one(k + 1);
        _mm512_storeu_si512(work.d_s_pairs + static_cast<std::ptrdiff_t>(k) * kRows + 2 * lane, join(even, odd));
      }
    }
  }

  static void backward(const BackwardTile& tile) {
    const int padded = tile.dims.padded_dim;
    const std::ptrdiff_t block = key_block(tile.dims, tile.capacity), rows = row_block(tile.dims);
    const std::ptrdiff_t skipped = static_cast<std::ptrdiff_t>(tile.first_row) * padded;
    auto* d_keys = static_cast<float*>(tile.keys) + skipped;
    float* d_values = d_keys + block;
    const auto* keys = reinterpret_cast<const Bf16Bits*>(static_cast<const float*>(tile.keys) + 2 * block) + skipped;
    const Bf16Bits* values = keys + block;
    const Bf16Bits* keys_t = keys - skipped + 2 * block + tile.first_row;
    const auto* queries = static_cast<const Bf16Bits*>(tile.queries);
    const BackwardWork work(tile.work, tile.capacity);
    const auto used = static_cast<int>(rounded(tile.num_keys));
    Tiles::configure();
    // scores <- k q^T, d_p <- v d_out^T
    Products::template product<false>({keys, padded, queries, 2 * kRows, work.scores, kRows}, used, kRows, padded);
    Products::template product<false>({values, padded, queries + rows, 2 * kRows, work.d_p, kRows}, used, kRows,
                                      padded);
    differentiate(tile, work, used);
    // d_v += p^T d_out, d_k += d_s^T q, d_q^T <- k^T d_s
    const bool masked = has_masked_pairs(tile);
    Products::add_weighted_rows({work.p, kRows, queries + 3 * rows, 2 * padded, d_values, padded}, used, padded, kRows,
                                masked);
    Products::add_weighted_rows({work.d_s, kRows, queries + 2 * rows, 2 * padded, d_keys, padded}, used, padded, kRows,
                                masked);
    Products::template weight_columns<false>({keys_t, tile.capacity, work.d_s_pairs, 2 * kRows, tile.d_queries, kRows},
                                             padded, kRows, used, masked);
    Tiles::release();
  }

  static AttentionKernels table() {
    return {.query_tile = kRows,
            .key_tile = kKeys,
            .key_multiple = kTerms,
            .dim_multiple = kTerms,
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

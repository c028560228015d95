// SPDX-License-Identifier: Apache-2.0
// The compressive memory on one tile of tokens of one head, in fp32 vectors. Everything is packed: rows are P floats apart,
// where P is the head dimension rounded up to whole vectors; the padding is zero.
// Included only by the files that are compiled once for each instruction set.
#pragma once

#include "kernels/cpu/kernel_table.hpp"
#include "kernels/cpu/product.hpp"
#include "kernels/cpu/vector_math.hpp"

namespace rondo::cpu {
namespace {

template <class V> struct MemoryTiles {
  static constexpr int kRows = 48;   // a multiple of every register block (4, 6, 8, 12)
  static constexpr int kSlack = 12;  // rows that a last register block may touch beyond the end

  // --- rows ---

  template <class S> static void widen(AttentionDims dims, const S* from, float* to) {
    constexpr int w = V::kWidth;
    int d = 0;
    for (; d + w <= dims.head_dim; d += w) V::store(to + d, V::load(from + d));
    if (d < dims.head_dim) V::store(to + d, V::load_first(from + d, dims.head_dim - d));
  }
  static void widen(AttentionDims dims, Storage type, const void* from, float* to) {
    if (type == Storage::Fp32) widen(dims, static_cast<const float*>(from), to);
    if (type == Storage::Bf16) widen(dims, static_cast<const Bf16Bits*>(from), to);
  }

  static float row_dot(AttentionDims dims, const float* x, const float* y) {
    auto sum = V::zero();
    for (int d = 0; d < dims.padded_dim; d += V::kWidth) sum = V::fma(V::load(x + d), V::load(y + d), sum);
    return V::reduce_add(sum);
  }
  /// y += factor x
  static void add_scaled(AttentionDims dims, float* y, float factor, const float* x) {
    const auto f = V::broadcast(factor);
    for (int d = 0; d < dims.padded_dim; d += V::kWidth) V::store(y + d, V::fma(f, V::load(x + d), V::load(y + d)));
  }
  /// y = factor x
  static void scale(AttentionDims dims, float* y, float factor, const float* x) {
    const auto f = V::broadcast(factor);
    for (int d = 0; d < dims.padded_dim; d += V::kWidth) V::store(y + d, V::mul(f, V::load(x + d)));
  }
  /// 1 / x, or 0 if x is below the smallest normal number.
  static float reciprocal_or_zero(float x) { return x >= __FLT_MIN__ ? 1 / x : 0; }

  /// to[i] += from[i] for the unpadded part of a row.
  static void add_row(AttentionDims dims, float* to, const float* from) {
    constexpr int w = V::kWidth;
    int d = 0;
    for (; d + w <= dims.head_dim; d += w) V::store(to + d, V::add(V::load(to + d), V::load(from + d)));
    if (d == dims.head_dim) return;
    const int rest = dims.head_dim - d;
    V::store_first(to + d, V::add(V::load_first(to + d, rest), V::load(from + d)), rest);
  }
  static void store_row(AttentionDims dims, float* to, const float* from, float factor) {
    constexpr int w = V::kWidth;
    const auto f = V::broadcast(factor);
    int d = 0;
    for (; d + w <= dims.head_dim; d += w) V::store(to + d, V::mul(f, V::load(from + d)));
    if (d < dims.head_dim) V::store_first(to + d, V::mul(f, V::load(from + d)), dims.head_dim - d);
  }

  static MemoryWeight weight(AttentionDims dims, const float* phi, const float* z, const float* segment) {
    const float c = row_dot(dims, phi, z), e = segment == nullptr ? 0 : row_dot(dims, phi, segment);
    return {reciprocal_or_zero(c >= e ? c : e), c, c >= e};
  }

  // --- products of a tile ---

  /// c [count, P] = or += a [count, P] b [D, P], each sum in two halves, for half the rounding error of one chain.
  template <Into kInto>
  static void rows_times(AttentionDims dims, const float* a, const float* b, float* c, int count) {
    ProductArgs args{.a = a,
                     .a_row = dims.padded_dim,
                     .a_depth = 1,
                     .b = b,
                     .b_depth = dims.padded_dim,
                     .c = c,
                     .c_row = dims.padded_dim,
                     .row_scale = nullptr};
    const int half = first_terms(dims.head_dim), columns = dims.padded_dim / V::kWidth;
    product<V, true, kInto>(args, count, columns, half);
    args.a += half, args.b += std::ptrdiff_t{half} * dims.padded_dim;
    product<V, true, Into::Add>(args, count, columns, dims.head_dim - half);
  }
  /// c [D, P] += a^T b, a and b [count, P]
  static void add_outer(AttentionDims dims, const float* a, const float* b, float* c, int count) {
    product<V, false, Into::Add>({.a = a,
                                  .a_row = 1,
                                  .a_depth = dims.padded_dim,
                                  .b = b,
                                  .b_depth = dims.padded_dim,
                                  .c = c,
                                  .c_row = dims.padded_dim,
                                  .row_scale = nullptr},
                                 dims.head_dim, dims.padded_dim / V::kWidth, count);
  }

  static float* row(AttentionDims dims, float* rows, int r) {
    return rows + static_cast<std::ptrdiff_t>(r) * dims.padded_dim;
  }
  static std::ptrdiff_t tile_floats(AttentionDims dims) {
    return static_cast<std::ptrdiff_t>(kRows + kSlack) * dims.padded_dim;
  }

  // --- the kernels of the table ---

  static void features(AttentionDims dims, Storage type, const void* const* rows, int count, float* phi) {
    const auto zero = V::zero();
    for (int r = 0; r < count; ++r, phi += dims.padded_dim) {
      for (int d = 0; d < dims.padded_dim; d += V::kWidth) V::store(phi + d, zero);
      widen(dims, type, rows[r], phi);
      for (int d = 0; d < dims.padded_dim; d += V::kWidth) {
        // max(x, 0) + exp(min(x, 0)) is x + 1 above 0 and exp(x) below, exactly
        const auto x = V::load(phi + d);
        V::store(phi + d, V::add(V::max(x, zero), fine_exponential<V>(V::min(x, zero))));
      }
      for (int d = dims.head_dim; d < dims.padded_dim; ++d) phi[d] = 0;
    }
  }

  static void read(const MemoryReadTile& tile) {
    const AttentionDims dims = tile.dims;
    rows_times<Into::Set>(dims, tile.psi, tile.m, tile.work, tile.count);
    for (int r = 0; r < tile.count; ++r) {
      const float n = row_dot(dims, tile.psi + static_cast<std::ptrdiff_t>(r) * dims.padded_dim, tile.z);
      tile.normaliser[r] = n;
      store_row(dims, tile.out[r], row(dims, tile.work, r), reciprocal_or_zero(n));
    }
  }

  static void write(const MemoryWriteTile& tile) {
    const AttentionDims dims = tile.dims;
    float* target = tile.work;
    float* retrieved = target + tile_floats(dims);
    for (std::ptrdiff_t i = 0; i < tile_floats(dims); i += V::kWidth) V::store(target + i, V::zero());
    for (int r = 0; r < tile.count; ++r) widen(dims, tile.type, tile.v[r], row(dims, target, r));
    if (tile.is_delta) {
      rows_times<Into::Set>(dims, tile.phi, tile.m, retrieved, tile.count);
      for (int r = 0; r < tile.count; ++r) {
        const float w = weight(dims, phi_row(tile, r), tile.z, tile.segment).value;
        add_scaled(dims, row(dims, target, r), -w, row(dims, retrieved, r));
      }
    }
    add_outer(dims, tile.phi, target, tile.added, tile.count);
    if (tile.decay == nullptr) return;
    rows_times<Into::Set>(dims, tile.phi, tile.decay, retrieved, tile.count);
    for (int r = 0; r < tile.count; ++r) {
      const float w = weight(dims, phi_row(tile, r), tile.z, tile.segment).value;
      scale(dims, row(dims, target, r), w, phi_row(tile, r));
      add_scaled(dims, row(dims, target, r), -w, row(dims, retrieved, r));
    }
    add_outer(dims, tile.phi, target, tile.decay_added, tile.count);
  }
  template <class Tile> static const float* phi_row(const Tile& tile, int r) {
    return tile.phi + static_cast<std::ptrdiff_t>(r) * tile.dims.padded_dim;
  }

  static void read_backward(const MemoryReadBackwardTile& tile) {
    const AttentionDims dims = tile.dims;
    float* d_r = tile.work;
    float* d_psi = d_r + tile_floats(dims);
    for (std::ptrdiff_t i = 0; i < tile_floats(dims); i += V::kWidth) V::store(d_r + i, V::zero());
    for (int r = 0; r < tile.count; ++r) {
      widen(dims, tile.d_read[r], row(dims, d_r, r));
      scale(dims, row(dims, d_r, r), reciprocal_or_zero(tile.normaliser[r]), row(dims, d_r, r));
    }
    add_outer(dims, tile.phi, d_r, tile.d_m_added, tile.count);
    if (tile.d_q == nullptr) return;
    rows_times<Into::Set>(dims, d_r, tile.m_transposed, d_psi, tile.count);
    for (int r = 0; r < tile.count; ++r) {
      // d_n = -(d_read . read) / n = -d_r . read
      const float d_n = -partial_dot(dims, row(dims, d_r, r), tile.read[r]);
      add_scaled(dims, tile.d_z_added, d_n, phi_row(tile, r));
      add_scaled(dims, row(dims, d_psi, r), d_n, tile.z);
      add_through_slope(dims, tile.d_q[r], row(dims, d_psi, r), phi_row(tile, r));
    }
  }

  static void write_backward(const MemoryWriteBackwardTile& tile) {
    const AttentionDims dims = tile.dims;
    const std::ptrdiff_t floats = tile_floats(dims);
    float *d_v = tile.work, *target = d_v + floats, *d_x = target + floats, *x = d_x + floats;
    rows_times<Into::Set>(dims, tile.phi, tile.behind, d_v, tile.count);
    for (std::ptrdiff_t i = 0; i < floats; i += V::kWidth) V::store(target + i, V::zero());
    for (int r = 0; r < tile.count; ++r) widen(dims, tile.type, tile.v[r], row(dims, target, r));
    float d_c[kRows], d_e[kRows];
    if (tile.is_delta) {
      rows_times<Into::Set>(dims, tile.phi, tile.m, x, tile.count);
      for (int r = 0; r < tile.count; ++r) {
        const MemoryWeight w = weight(dims, phi_row(tile, r), tile.z, tile.segment);
        add_scaled(dims, row(dims, target, r), -w.value, row(dims, x, r));
        scale(dims, row(dims, d_x, r), -w.value, row(dims, d_v, r));
        const float gradient = w.value * w.value * row_dot(dims, row(dims, d_v, r), row(dims, x, r));
        d_c[r] = w.is_overlap ? gradient : 0;
        d_e[r] = w.is_overlap ? 0 : gradient;
        add_scaled(dims, tile.d_z_added, d_c[r], phi_row(tile, r));
        if (tile.segment != nullptr) add_scaled(dims, tile.d_segment_added, d_e[r], phi_row(tile, r));
      }
      add_outer(dims, tile.phi, d_x, tile.d_m_added, tile.count);
    }
    if (tile.d_k == nullptr) return;
    float* d_phi = x;
    rows_times<Into::Set>(dims, target, tile.behind_transposed, d_phi, tile.count);
    if (tile.is_delta) rows_times<Into::Add>(dims, d_x, tile.m_transposed, d_phi, tile.count);
    for (int r = 0; r < tile.count; ++r) {
      if (tile.is_delta) add_scaled(dims, row(dims, d_phi, r), d_c[r], tile.z);
      if (tile.segment != nullptr) add_scaled(dims, row(dims, d_phi, r), d_e[r], tile.segment);
      add_row(dims, tile.d_v[r], row(dims, d_v, r));
      add_through_slope(dims, tile.d_k[r], row(dims, d_phi, r), phi_row(tile, r));
    }
  }

  /// x . y over the head dimension, y without padding.
  static float partial_dot(AttentionDims dims, const float* x, const float* y) {
    constexpr int w = V::kWidth;
    auto sum = V::zero();
    int d = 0;
    for (; d + w <= dims.head_dim; d += w) sum = V::fma(V::load(x + d), V::load(y + d), sum);
    if (d < dims.head_dim) sum = V::fma(V::load(x + d), V::load_first(y + d, dims.head_dim - d), sum);
    return V::reduce_add(sum);
  }
  /// to += d_phi sigma'(x): the slope is 1 where phi = x + 1 > 1 and exp(x) = phi below, so min(phi, 1). d_phi is overwritten.
  static void add_through_slope(AttentionDims dims, float* to, float* d_phi, const float* phi) {
    const auto one = V::broadcast(1.0F);
    for (int d = 0; d < dims.padded_dim; d += V::kWidth) {
      V::store(d_phi + d, V::mul(V::load(d_phi + d), V::min(V::load(phi + d), one)));
    }
    add_row(dims, to, d_phi);
  }

  static MemoryKernels table() {
    return {.tile = kRows,
            .slack = kSlack,
            .dim_multiple = V::kWidth,
            .features = features,
            .read = read,
            .write = write,
            .read_backward = read_backward,
            .write_backward = write_backward,
            .dot = row_dot,
            .weight = weight,
            .add_scaled = add_scaled,
            .add_through_slope = add_through_slope};
  }
};

}  // namespace
}  // namespace rondo::cpu

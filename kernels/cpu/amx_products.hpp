// SPDX-License-Identifier: Apache-2.0
// Products of bf16 matrices on matrix tiles (AMX): 16 x 16 sums of 32 terms, with operands packed for the tile instruction:
//   a: rows of 32 consecutive terms;  b: rows of term pairs, [terms / 2, columns, 2].
// Tiles is the processor's tile unit (kernels_amx.cpp) or a scalar emulation of it (tests), so that tests find a wrong
// layout on any AVX-512 machine. Included only by files compiled for AVX-512.
#pragma once

#include "kernels/cpu/kernel_table.hpp"
#include "kernels/cpu/vector_avx512.hpp"

namespace rondo::cpu {
namespace {

template <class Tiles> struct AmxProducts {
  using V = Avx512;
  static constexpr int kTerms = 32;  // of one tile product

  struct Operands {
    const Bf16Bits* a;
    std::ptrdiff_t a_row;  // elements
    const Bf16Bits* b;
    std::ptrdiff_t b_pair;  // elements between two rows of term pairs
    float* c;
    std::ptrdiff_t c_row;
  };

  /// c [32, 32] = or += a [32, terms] b [terms, 32], four tiles of sums.
  template <bool kKeep> static void block(const Operands& o, int terms) {
    const std::ptrdiff_t c_bytes = o.c_row * 4, a_bytes = o.a_row * 2, b_bytes = o.b_pair * 2;
    float* lower = o.c + 16 * o.c_row;
    if constexpr (kKeep) {
      Tiles::template load<0>(o.c, c_bytes);
      Tiles::template load<1>(o.c + 16, c_bytes);
      Tiles::template load<2>(lower, c_bytes);
      Tiles::template load<3>(lower + 16, c_bytes);
    } else {
      Tiles::template zero<0>();
      Tiles::template zero<1>();
      Tiles::template zero<2>();
      Tiles::template zero<3>();
    }
    for (int t = 0; t < terms; t += kTerms) {
      const Bf16Bits* b = o.b + t / 2 * o.b_pair;
      Tiles::template load<4>(o.a + t, a_bytes);
      Tiles::template load<5>(o.a + 16 * o.a_row + t, a_bytes);
      Tiles::template load<6>(b, b_bytes);
      Tiles::template load<7>(b + 32, b_bytes);
      Tiles::template multiply<0, 4, 6>();
      Tiles::template multiply<1, 4, 7>();
      Tiles::template multiply<2, 5, 6>();
      Tiles::template multiply<3, 5, 7>();
    }
    Tiles::template store<0>(o.c, c_bytes);
    Tiles::template store<1>(o.c + 16, c_bytes);
    Tiles::template store<2>(lower, c_bytes);
    Tiles::template store<3>(lower + 16, c_bytes);
  }

  /// c [rows, columns]; rows and columns are multiples of 32.
  template <bool kKeep> static void product(const Operands& o, std::ptrdiff_t rows, std::ptrdiff_t columns, int terms) {
    for (std::ptrdiff_t j = 0; j < columns; j += 32) {
      for (std::ptrdiff_t i = 0; i < rows; i += 32) {
        block<kKeep>({o.a + i * o.a_row, o.a_row, o.b + 2 * j, o.b_pair, o.c + i * o.c_row + j, o.c_row}, terms);
      }
    }
  }

  // The following is for products with masked pairs, whose factors of 0 must not be multiplied with infinity or NaN.

  /// Whether `rows` rows of `elements` numbers, a multiple of 32, are all finite.
  static bool all_finite(const Bf16Bits* x, std::ptrdiff_t row_elements, std::ptrdiff_t rows, std::ptrdiff_t elements) {
    const __m512i exponent = _mm512_set1_epi16(0x7f80);
    __mmask32 found = 0;
    for (std::ptrdiff_t i = 0; i < rows; ++i, x += row_elements) {
      for (std::ptrdiff_t j = 0; j < elements; j += 32) {
        found |= _mm512_cmpeq_epi16_mask(_mm512_and_si512(_mm512_loadu_si512(x + j), exponent), exponent);
      }
    }
    return found == 0;
  }
  static V::Float upper_half(__m512i pairs) {
    return _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32(static_cast<int>(0xffff0000U))));
  }
  static V::Float lower_half(__m512i pairs) { return _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16)); }
  static V::Float broadcast(Bf16Bits x) {
    return _mm512_castsi512_ps(_mm512_set1_epi32(static_cast<int>(static_cast<std::uint32_t>(x) << 16)));
  }
  /// sum + a b, or sum where the factor is 0
  static V::Float add_term(V::Float sum, V::Float a, V::Float b, V::Float factor) {
    const __mmask16 counts = _mm512_cmp_ps_mask(factor, V::zero(), _CMP_NEQ_UQ);
    return V::select(counts, V::add(sum, V::mul(a, b)), sum);
  }
  /// c [rows, columns] = or += a b without the terms whose factor in a (kFactorA) or in b is 0. Slow: works vector by vector.
  template <bool kKeep, bool kFactorA>
  static void product_of_nonzero(const Operands& o, std::ptrdiff_t rows, std::ptrdiff_t columns, int terms) {
    for (std::ptrdiff_t i = 0; i < rows; ++i) {
      for (std::ptrdiff_t j = 0; j < columns; j += V::kWidth) {
        float* c = o.c + i * o.c_row + j;
        auto sum = kKeep ? V::load(c) : V::zero();
        for (int t = 0; t < terms; t += 2) {
          const __m512i pairs = _mm512_loadu_si512(o.b + t / 2 * o.b_pair + 2 * j);
          const auto even = broadcast(o.a[i * o.a_row + t]), odd = broadcast(o.a[i * o.a_row + t + 1]);
          sum = add_term(sum, even, lower_half(pairs), kFactorA ? even : lower_half(pairs));
          sum = add_term(sum, odd, upper_half(pairs), kFactorA ? odd : upper_half(pairs));
        }
        V::store(c, sum);
      }
    }
  }
  /// c += a b, where a has the factors of the pairs and b [terms / 2, columns, 2] may have numbers that are not finite.
  static void add_weighted_rows(const Operands& o, std::ptrdiff_t rows, std::ptrdiff_t columns, int terms,
                                bool has_masked_pairs) {
    if (has_masked_pairs && !all_finite(o.b, o.b_pair, terms / 2, 2 * columns)) {
      product_of_nonzero<true, true>(o, rows, columns, terms);
    } else {
      product<true>(o, rows, columns, terms);
    }
  }
  /// c = or += a b, where b has the factors of the pairs and a [rows, terms] may have numbers that are not finite.
  template <bool kKeep>
  static void weight_columns(const Operands& o, std::ptrdiff_t rows, std::ptrdiff_t columns, int terms,
                             bool has_masked_pairs) {
    if (has_masked_pairs && !all_finite(o.a, o.a_row, rows, terms)) {
      product_of_nonzero<kKeep, false>(o, rows, columns, terms);
    } else {
      product<kKeep>(o, rows, columns, terms);
    }
  }
};

}  // namespace
}  // namespace rondo::cpu

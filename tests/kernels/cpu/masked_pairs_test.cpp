// SPDX-License-Identifier: Apache-2.0
// A pair that the mask forbids counts nothing, whatever its query, key, value or output gradient holds: every result that does
// not depend on a token has the same bits whether that token is a number, infinite or NaN.
#include <array>
#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <string>
#include <vector>

#include "core/sequence_layout.hpp"
#include "kernels/cpu/context.hpp"
#include "tests/kernels/cpu/amx_emulation.hpp"
#include "tests/kernels/cpu/cpu_backends.hpp"
#include "tests/support/attention.hpp"

namespace rondo::test {
namespace {

constexpr std::int64_t kTokens = 203, kHeads = 2, kKeyHeads = 1, kDim = 20;
constexpr double kScale = 0.2;

enum class Input { Q, K, V, DOut };
constexpr std::array kInputs{Input::Q, Input::K, Input::V, Input::DOut};

const char* name_of(Input input) {
  switch (input) {
    case Input::Q: return "q";
    case Input::K: return "k";
    case Input::V: return "v";
    case Input::DOut: return "d_out";
  }
  return "?";
}

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr std::array kValues{std::numeric_limits<double>::quiet_NaN(), kInfinity, -kInfinity};

struct Case {
  const char* name;
  AttentionMask::Rule rule;
  bool has_documents;
  bool has_all_keys = true;  // otherwise the earlier half is missing: some queries see no key at all

  AttentionMask mask() const {
    return AttentionMask(
        rule, kTokens,
        has_documents ? std::vector<std::int64_t>{0, 31, 77, 130, kTokens} : std::vector<std::int64_t>{});
  }
};

const std::array kCases{
    Case{"causal", {.causal = true}, false},
    Case{"documents", {.causal = false}, true},
    Case{"causal documents", {.causal = true}, true},
    Case{"window", {.causal = true, .window = 37}, false},
    Case{"window in documents", {.causal = true, .window = 9}, true},
    Case{"segments", {.causal = true, .segment_tokens = 16, .window_segments = 1}, true},
    Case{"segments without a window", {.causal = true, .segment_tokens = 24}, false},
    Case{"causal, half of the keys", {.causal = true}, false, false},
    Case{"window, half of the keys", {.causal = true, .window = 37}, false, false},
};

AttentionInput random_input(DType dtype) { return AttentionInput::random(dtype, kTokens, kHeads, kKeyHeads, kDim, 7); }

/// One element of a token in every head, so that in each head a row, or a key, is not finite.
void poison(AttentionInput& inputs, Input which, std::int64_t token, double value) {
  Tensor& tensor = which == Input::Q   ? inputs.q
                   : which == Input::K ? inputs.k
                   : which == Input::V ? inputs.v
                                       : inputs.d_out;
  const std::int64_t heads = tensor.shape()[1];
  for (std::int64_t n = 0; n < heads; ++n) tensor.set((token * heads + n) * kDim + (7 * n + 3) % kDim, value);
}

/// What may depend on a poisoned token.
struct Reach {
  Reach(const AttentionMask& mask, Input which, std::int64_t token, std::int64_t first_key)
      : queries(kTokens), key_gradients(kTokens) {
    const auto sees = [&](std::int64_t i, std::int64_t j) {
      const KeyInterval keys = mask.keys_of(i);
      return std::max(keys.begin, first_key) <= j && j < keys.end;
    };
    const bool of_key = which == Input::K || which == Input::V;
    for (std::int64_t i = 0; i < kTokens; ++i) {
      queries[static_cast<std::size_t>(i)] = of_key ? sees(i, token) : i == token;
      if (!queries[static_cast<std::size_t>(i)]) continue;
      for (std::int64_t j = 0; j < kTokens; ++j) {
        if (sees(i, j)) key_gradients[static_cast<std::size_t>(j)] = true;
      }
    }
  }
  std::vector<bool> queries, key_gradients;
};

/// The rows [token] of a tensor [S, heads, D], or [heads, S] if `heads_first`, that are not in reach have the bits of `clean`.
void expect_same_outside(const std::vector<bool>& reach, const Tensor& result, const Tensor& clean, const char* name,
                         bool heads_first = false) {
  const std::int64_t per_token = result.count() / kTokens;
  for (std::int64_t i = 0; i < result.count(); ++i) {
    const std::int64_t token = heads_first ? i % kTokens : i / per_token;
    if (reach[static_cast<std::size_t>(token)]) continue;
    ASSERT_EQ(result[i], clean[i]) << name << " of token " << token;
  }
}

class MaskedPairs : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (GetParam() != "emulated_amx") {
      for (const cpu::Isa isa : isas_of_this_processor()) {
        if (cpu::name_of(isa) == GetParam()) {
          backend = make_cpu_backend(cpu_device(), {.threads = 2, .isa_limit = isa});
        }
      }
      return;
    }
    if (cpu::best_isa() < cpu::Isa::Avx512) GTEST_SKIP() << "needs AVX-512";
    backend = cpu::make_backend(cpu_device(), {.isa = cpu::Isa::Avx512,
                                               .threads = 2,
                                               .kernels = cpu::avx512_kernels(),
                                               .bf16_attention = &emulated_amx_attention()});
    dtypes = {DType::Bf16};
  }

  AttentionResult attend(const AttentionInput& input, const Case& c, const std::vector<TokenRuns>& queries) const {
    const AttentionMask mask = c.mask();
    if (c.has_all_keys) return attention_by_blocks(*backend, input, mask, kScale, queries, queries);
    const std::int64_t first = first_key(c);
    return attention_by_blocks(*backend, input, mask, kScale, queries, {TokenRuns::contiguous(first, kTokens - first)});
  }
  static std::int64_t first_key(const Case& c) { return c.has_all_keys ? 0 : kTokens / 2; }

  std::unique_ptr<Backend> backend;
  std::vector<DType> dtypes{DType::Fp32, DType::Bf16};
};

std::vector<TokenRuns> shares_of_two_ranks() {
  const SequenceLayout layout(kTokens, 2, LayoutKind::Zigzag);
  return {layout.runs(0), layout.runs(1)};
}

TEST_P(MaskedPairs, CountNothingWhateverTheyHold) {
  const std::vector<TokenRuns> whole{TokenRuns::contiguous(0, kTokens)}, ranks = shares_of_two_ranks();
  std::int64_t token = 0, num_runs = 0;  // another token and value each time
  for (const DType dtype : dtypes) {
    const AttentionInput sound = random_input(dtype);
    for (const Case& c : kCases) {
      const AttentionMask mask = c.mask();
      for (const auto* shares : {&whole, &ranks}) {
        const AttentionResult clean = attend(sound, c, *shares);
        for (const Input which : kInputs) {
          token = (token + 61) % kTokens;
          const double value = kValues[static_cast<std::size_t>(num_runs++ % 3)];
          SCOPED_TRACE(testing::Message() << rondo::name_of(dtype) << ", " << c.name << ", " << shares->size()
                                          << " ranks, " << name_of(which) << " of token " << token << " is " << value);
          AttentionInput poisoned = random_input(dtype);
          poison(poisoned, which, token, value);
          const AttentionResult result = attend(poisoned, c, *shares);
          const Reach reach(mask, which, token, first_key(c));
          if (which != Input::DOut) {
            expect_same_outside(reach.queries, result.out, clean.out, "out");
            expect_same_outside(reach.queries, result.lse, clean.lse, "lse", true);
          }
          expect_same_outside(reach.queries, result.d_q, clean.d_q, "d_q");
          expect_same_outside(reach.key_gradients, result.d_k, clean.d_k, "d_k");
          expect_same_outside(reach.key_gradients, result.d_v, clean.d_v, "d_v");
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

// The reference touches nothing but visible pairs, so where it is finite says where a token is seen, column by column.
TEST_P(MaskedPairs, WhatIsSeenIsPassedOnAsInTheReference) {
  const auto reference = make_reference_backend(cpu_device());
  const auto shares = shares_of_two_ranks();
  const Case& c = kCases[4];
  const AttentionMask mask = c.mask();
  const auto expect_finite_where = [](const Tensor& result, const Tensor& specification, const char* name) {
    for (std::int64_t i = 0; i < result.count(); ++i) {
      ASSERT_EQ(std::isfinite(result[i]), std::isfinite(specification[i])) << name << " " << i;
    }
  };
  for (const DType dtype : dtypes) {
    for (const Input which : kInputs) {
      SCOPED_TRACE(testing::Message() << rondo::name_of(dtype) << ", " << name_of(which));
      AttentionInput input = random_input(dtype);
      for (const std::int64_t token : {5, 40, 76, 77, 202}) poison(input, which, token, kValues[0]);
      poison(input, Input::V, 131, kInfinity);
      const AttentionResult result = attention_by_blocks(*backend, input, mask, kScale, shares, shares);
      const AttentionResult plain = attention_by_blocks(*reference, input, mask, kScale, shares, shares);
      expect_finite_where(result.out, plain.out, "out");
      expect_finite_where(result.lse, plain.lse, "lse");
      expect_finite_where(result.d_q, plain.d_q, "d_q");
      expect_finite_where(result.d_k, plain.d_k, "d_k");
      expect_finite_where(result.d_v, plain.d_v, "d_v");
    }
  }
}

std::vector<std::string> kernels_of_this_processor() {
  std::vector<std::string> names{"emulated_amx"};
  for (const cpu::Isa isa : isas_of_this_processor()) names.emplace_back(cpu::name_of(isa));
  return names;
}

INSTANTIATE_TEST_SUITE_P(Kernels, MaskedPairs, testing::ValuesIn(kernels_of_this_processor()),
                         [](const auto& kernels) { return kernels.param; });

}  // namespace
}  // namespace rondo::test

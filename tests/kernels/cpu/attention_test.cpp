// SPDX-License-Identifier: Apache-2.0
#include "tests/support/attention.hpp"

#include <array>
#include <gtest/gtest.h>
#include <thread>

#include "core/sequence_layout.hpp"
#include "kernels/cpu/context.hpp"
#include "tests/kernels/cpu/amx_emulation.hpp"
#include "tests/kernels/cpu/cpu_backends.hpp"
#include "tests/support/tolerance.hpp"

namespace rondo::test {
namespace {

// A sanitizer makes the comparisons, most of them arithmetic of the reference backend, ten times as slow.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSlowed = true;
#else
constexpr bool kSlowed = false;
#endif

// 24 and 48 rows, 96 keys, and 96 or 192 keys backward are the tiles.
constexpr std::array<std::int64_t, 13> kNastyLengths{1, 3, 23, 25, 47, 49, 95, 97, 113, 191, 193, 203, 239};

struct Problem {
  std::int64_t tokens, heads, kv_heads, dim;
};

using Shards = std::vector<TokenRuns>;  // of all ranks of a ring

/// `num_documents` documents of uneven lengths.
std::vector<std::int64_t> uneven_documents(std::int64_t tokens, std::int64_t num_documents) {
  std::vector<std::int64_t> offsets{0};
  for (std::int64_t i = 1; i < num_documents; ++i) offsets.push_back(tokens * i * i / (num_documents * num_documents));
  offsets.push_back(tokens);
  return offsets;
}

/// Compares every instruction set of this processor with one run of the reference backend.
class CpuAttentionTolerance : public testing::Test {
 protected:
  void SetUp() override {
    for (const cpu::Isa isa : isas_of_this_processor()) {
      backends.emplace_back(isa, make_cpu_backend(cpu_device(), {.threads = 2, .isa_limit = isa}));
    }
  }

  /// @param divisions each is a ring's shards of queries and keys
  void expect_like_reference(const AttentionInput& exact_input, DType dtype, const AttentionMask& mask,
                             const std::vector<Shards>& divisions) {
    const AttentionInput input = exact_input.converted(dtype);
    const double scale = 1 / std::sqrt(static_cast<double>(input.q.shape()[2]));
    const AttentionResult exact = attention_in_one_block(*reference, input.converted(DType::Fp64), mask, scale);
    for (std::size_t i = 0; i < divisions.size(); ++i) {
      SCOPED_TRACE(testing::Message() << "division " << i);
      const Shards& shards = divisions[i];
      const AttentionResult plain = attention_by_blocks(*reference, input, mask, scale, shards, shards);
      for (const auto& [isa, backend] : backends) {
        SCOPED_TRACE(cpu::name_of(isa));
        const AttentionResult result = attention_by_blocks(*backend, input, mask, scale, shards, shards);
        expect_within_tolerance(result, plain, exact);
      }
    }
  }

  void expect_like_reference(const Problem& p, const AttentionMask& mask, const std::vector<Shards>& divisions,
                             std::initializer_list<DType> dtypes = {DType::Fp32, DType::Bf16}) {
    for (const DType dtype : dtypes) {
      SCOPED_TRACE(testing::Message() << p.tokens << " tokens, heads " << p.heads << ":" << p.kv_heads << ", dim "
                                      << p.dim << ", " << name_of(dtype));
      const auto input = AttentionInput::random(dtype, p.tokens, p.heads, p.kv_heads, p.dim, 7);
      expect_like_reference(input, dtype, mask, divisions);
    }
  }

  std::vector<std::pair<cpu::Isa, std::unique_ptr<Backend>>> backends;
  std::unique_ptr<Backend> reference = make_reference_backend(cpu_device());
};

class CpuAttention : public CpuBackends {};

Shards shares_of(std::int64_t tokens, int ranks, LayoutKind kind) {
  const SequenceLayout layout(tokens, ranks, kind);
  Shards shards;
  for (int rank = 0; rank < ranks; ++rank) shards.push_back(layout.runs(rank));
  return shards;
}

/// The rule compares largest errors, and those of few rows differ by luck: key/value heads that make some thousand rows.
std::int64_t num_groups_for(std::int64_t tokens) { return 1 + 3000 / tokens; }

Shards one_shard(std::int64_t tokens) { return {TokenRuns::contiguous(0, tokens)}; }

TEST_F(CpuAttentionTolerance, HoldsForNastyLengths) {
  if (kSlowed) GTEST_SKIP() << "StaysInItsTensors is what a sanitizer looks at";
  for (const std::int64_t tokens : kNastyLengths) {
    const std::int64_t groups = num_groups_for(tokens);
    // bf16 is widened on packing and then the same, but on AMX
    expect_like_reference({tokens, 2 * groups, groups, 32}, AttentionMask({.causal = true}, tokens),
                          {one_shard(tokens)}, {tokens % 4 == 3 ? DType::Bf16 : DType::Fp32});
    expect_like_reference({tokens, groups, groups, 16}, AttentionMask({.causal = false}, tokens), {one_shard(tokens)},
                          {tokens % 4 == 1 ? DType::Bf16 : DType::Fp32});
  }
  expect_like_reference({1023, 1, 1, 64}, AttentionMask({.causal = true}, 1023), {one_shard(1023)});
}

TEST_F(CpuAttentionTolerance, HoldsForAllHeadDimensionsAndGroups) {
  constexpr std::array<std::int64_t, 8> dims{16, 20, 32, 64, 80, 96, 128, 256};
  for (const std::int64_t dim : dims) {
    expect_like_reference({131, 2, 2, dim}, AttentionMask({.causal = true}, 131), {one_shard(131)});
  }
  expect_like_reference({131, 4, 1, 64}, AttentionMask({.causal = true}, 131), {one_shard(131)});
  expect_like_reference({131, 8, 1, 16}, AttentionMask({.causal = true}, 131), {one_shard(131)});
  expect_like_reference({67, 8, 2, 128}, AttentionMask({.causal = false}, 67), {one_shard(67)});
  expect_like_reference({101, 6, 2, 24}, AttentionMask({.causal = true}, 101), {one_shard(101)});
}

TEST_F(CpuAttentionTolerance, HoldsForAllMasksAndLayouts) {
  if (kSlowed) GTEST_SKIP() << "StaysInItsTensors is what a sanitizer looks at";
  constexpr std::int64_t tokens = 331;
  std::vector<Shards> layouts;
  for (const LayoutKind kind : kLayoutKinds) layouts.push_back(shares_of(tokens, 3, kind));
  const auto documents = uneven_documents(tokens, 7);
  const auto expect = [&](const AttentionMask& mask) { expect_like_reference({tokens, 8, 4, 16}, mask, layouts); };
  expect(AttentionMask({.causal = true}, tokens));
  expect(AttentionMask({.causal = false}, tokens));
  expect(AttentionMask({.causal = true, .window = 50}, tokens));
  expect(AttentionMask({.causal = true}, tokens, documents));
  expect(AttentionMask({.causal = false}, tokens, documents));
  expect(AttentionMask({.causal = true, .window = 9}, tokens, documents));
}

TEST_F(CpuAttentionTolerance, HoldsWithLargeLogits) {
  constexpr std::int64_t tokens = 203;
  const AttentionMask mask({.causal = true}, tokens);
  for (const DType dtype : {DType::Fp32, DType::Bf16}) {
    AttentionInput input = AttentionInput::random(dtype, tokens, 2, 1, 64, 11);
    for (std::int64_t i = 0; i < input.q.count(); ++i) input.q.set(i, input.q[i] * 40);
    expect_like_reference(input, dtype, mask, {one_shard(tokens)});
  }
}

TEST_F(CpuAttentionTolerance, HoldsOnRealisticActivations) {
  // A few channels are much larger than the rest, keys have a common offset, and the first token draws most attention.
  constexpr std::int64_t tokens = 239, heads = 4, dim = 64;
  const AttentionMask mask({.causal = true}, tokens);
  for (const DType dtype : {DType::Fp32, DType::Bf16}) {
    AttentionInput input = AttentionInput::random(dtype, tokens, heads, 1, dim, 13);
    for (std::int64_t t = 0; t < tokens; ++t) {
      for (std::int64_t d = 0; d < dim; ++d) {
        const double channel = d % 29 == 3 ? 8 : 0.7;
        input.k.set(t * dim + d, channel * input.k[t * dim + d] + (d % 7 == 0 ? 2 : 0.2));
        if (t == 0) input.k.set(d, 3 * input.k[d]);
      }
    }
    expect_like_reference(input, dtype, mask, {one_shard(tokens)});
  }
}

// Under a sanitizer: nothing outside of the tensors is read or written. Without one: nothing unset gets into a result.
TEST_P(CpuAttention, StaysInItsTensors) {
  for (const DType dtype : {DType::Fp32, DType::Bf16}) {
    for (const std::int64_t tokens : kNastyLengths) {
      const auto input = AttentionInput::random(dtype, tokens, 4, 2, tokens % 2 == 0 ? 32 : 20, 7);
      for (const std::int64_t window : {0, 9}) {
        const AttentionMask mask({.causal = true, .window = window}, tokens, uneven_documents(tokens, 3));
        const auto shards = tokens < 3 ? one_shard(tokens) : shares_of(tokens, 3, LayoutKind::Zigzag);
        const AttentionResult result = attention_by_blocks(*cpu, input, mask, 0.2, shards, shards);
        for (const Tensor* tensor : {&result.out, &result.lse, &result.d_q, &result.d_k, &result.d_v}) {
          for (std::int64_t i = 0; i < tensor->count(); ++i) ASSERT_TRUE(std::isfinite((*tensor)[i])) << tokens;
        }
      }
    }
  }
}

TEST_P(CpuAttention, DoesNotDependOnThreadsOrOnTheRun) {
  constexpr std::int64_t tokens = 517;
  const AttentionMask mask({.causal = true}, tokens, uneven_documents(tokens, 3));
  const auto input = AttentionInput::random(DType::Fp32, tokens, 4, 2, 32, 3);
  const auto shards = shares_of(tokens, 2, LayoutKind::Zigzag);
  const AttentionResult once = attention_by_blocks(*make_cpu(1), input, mask, 0.2, shards, shards);
  for (const int threads : {1, 2, 3, 5}) {
    const AttentionResult again = attention_by_blocks(*make_cpu(threads), input, mask, 0.2, shards, shards);
    EXPECT_EQ(max_difference(once.out, again.out), 0) << threads;
    EXPECT_EQ(max_difference(once.lse, again.lse), 0) << threads;
    EXPECT_EQ(max_difference(once.d_q, again.d_q), 0) << threads;
    EXPECT_EQ(max_difference(once.d_k, again.d_k), 0) << threads;
    EXPECT_EQ(max_difference(once.d_v, again.d_v), 0) << threads;
  }
}

TEST_P(CpuAttention, LeavesRowsWithoutKeysEmpty) {
  constexpr std::int64_t tokens = 64;
  const AttentionMask mask({.causal = true}, 2 * tokens);
  const auto input = AttentionInput::random(DType::Fp32, tokens, 2, 1, 16, 5);
  Tensor out(DType::Fp32, input.q.shape());
  Tensor lse = Tensor::filled(DType::Fp32, {2, tokens}, -std::numeric_limits<double>::infinity());
  // Queries 10 ... 73 against keys 64 ... 127: the first 54 queries see none of them.
  cpu->block_attention_forward(*host.stream, {.q = input.q,
                                              .k = input.k,
                                              .v = input.v,
                                              .query_runs = TokenRuns::contiguous(10, tokens),
                                              .key_runs = TokenRuns::contiguous(64, tokens),
                                              .mask = mask.view(),
                                              .scale = 0.25,
                                              .carry = {.out = out, .lse = lse},
                                              .scratch = host.scratch});
  for (std::int64_t t = 0; t < tokens; ++t) {
    EXPECT_EQ(std::isinf(lse[t]), t < 54) << t;
    EXPECT_EQ(out[t * 32] == 0, t < 54) << t;
  }
}

TEST_P(CpuAttention, PassesOnWhatIsNotANumber) {
  constexpr std::int64_t tokens = 100;
  const AttentionMask mask({.causal = true}, tokens);
  AttentionInput input = AttentionInput::random(DType::Fp32, tokens, 1, 1, 16, 5);
  input.k.set(40 * 16 + 3, std::numeric_limits<double>::quiet_NaN());
  const AttentionResult result = attention_in_one_block(*cpu, input, mask, 0.25);
  EXPECT_TRUE(std::isfinite(result.out[39 * 16]));
  for (const std::int64_t t : {40, 41, 63, 99}) EXPECT_TRUE(std::isnan(result.out[t * 16])) << t;
}

TEST_P(CpuAttention, ProgressRunsOnTheCallingThreadAndItsErrorReachesTheCaller) {
  constexpr std::int64_t tokens = 700;
  const AttentionMask mask({.causal = true}, tokens);
  const auto input = AttentionInput::random(DType::Fp32, tokens, 4, 2, 64, 3);
  const auto runs = TokenRuns::contiguous(0, tokens);
  Tensor out(DType::Fp32, input.q.shape());
  Tensor lse = Tensor::filled(DType::Fp32, {4, tokens}, -std::numeric_limits<double>::infinity());
  const BlockAttentionForwardArgs args{.q = input.q,
                                       .k = input.k,
                                       .v = input.v,
                                       .query_runs = runs,
                                       .key_runs = runs,
                                       .mask = mask.view(),
                                       .scale = 0.125,
                                       .carry = {.out = out, .lse = lse},
                                       .scratch = host.scratch};
  const auto caller = std::this_thread::get_id();
  int calls = 0;
  bool elsewhere = false;
  host.stream->set_progress([&] {
    ++calls;
    elsewhere = elsewhere || std::this_thread::get_id() != caller;
  });
  cpu->block_attention_forward(*host.stream, args);
  EXPECT_GT(calls, 0);
  EXPECT_FALSE(elsewhere);

  host.stream->set_progress([] { throw CommError("the peer is gone"); });
  EXPECT_THROW(cpu->block_attention_forward(*host.stream, args), CommError);
  Tensor d_q(DType::Fp32, input.q.shape()), d_k(DType::Fp32, input.k.shape()), d_v(DType::Fp32, input.v.shape());
  Tensor delta(DType::Fp32, {4, tokens});
  const BlockAttentionBackwardArgs backward{.q = input.q,
                                            .k = input.k,
                                            .v = input.v,
                                            .d_out = input.d_out,
                                            .lse = lse,
                                            .delta = delta,
                                            .query_runs = runs,
                                            .key_runs = runs,
                                            .mask = mask.view(),
                                            .scale = 0.125,
                                            .d_q = d_q,
                                            .d_k = d_k,
                                            .d_v = d_v,
                                            .scratch = host.scratch};
  EXPECT_THROW(cpu->block_attention_backward(*host.stream, backward), CommError);
}

TEST_P(CpuAttention, RefusesFp64WithAdvice) {
  const AttentionMask mask({.causal = true}, 4);
  const auto input = AttentionInput::random(DType::Fp64, 4, 1, 1, 16, 1);
  EXPECT_THROW(attention_in_one_block(*cpu, input, mask, 1), ConfigError);
}

// The tile unit is emulated: this machine may lack it, and layouts are what goes wrong.
class EmulatedAmx : public testing::Test {
 protected:
  void SetUp() override {
    if (cpu::best_isa() < cpu::Isa::Avx512) GTEST_SKIP() << "needs AVX-512";
  }
  void expect_like_reference(const Problem& p, const AttentionMask& mask, const Shards& shards) {
    SCOPED_TRACE(testing::Message() << p.tokens << " tokens, heads " << p.heads << ":" << p.kv_heads << ", dim "
                                    << p.dim);
    const cpu::Context context{.isa = cpu::Isa::Avx512,
                               .threads = 2,
                               .kernels = cpu::avx512_kernels(),
                               .bf16_attention = &emulated_amx_attention()};
    const auto amx = cpu::make_backend(cpu_device(), context);
    const auto reference = make_reference_backend(cpu_device());
    const AttentionInput input = AttentionInput::random(DType::Bf16, p.tokens, p.heads, p.kv_heads, p.dim, 7);
    const double scale = 1 / std::sqrt(static_cast<double>(p.dim));
    const AttentionResult result = attention_by_blocks(*amx, input, mask, scale, shards, shards);
    const AttentionResult plain = attention_by_blocks(*reference, input, mask, scale, shards, shards);
    const AttentionResult exact = attention_in_one_block(*reference, input.converted(DType::Fp64), mask, scale);
    expect_within_tolerance(result, plain, exact);
  }
};

TEST_F(EmulatedAmx, FitsTheTolerance) {
  for (const std::int64_t tokens : {1, 31, 33, 63, 65, 127, 129, 203}) {
    expect_like_reference({tokens, 2, 1, 32}, AttentionMask({.causal = true}, tokens), one_shard(tokens));
  }
  for (const std::int64_t dim : {16, 20, 48, 64, 80, 128, 256}) {
    expect_like_reference({131, 4, 2, dim}, AttentionMask({.causal = false}, 131), one_shard(131));
  }
  constexpr std::int64_t tokens = 331;
  const auto documents = uneven_documents(tokens, 5);
  for (const LayoutKind kind : {LayoutKind::Zigzag, LayoutKind::Striped}) {
    const auto shards = shares_of(tokens, 2, kind);
    expect_like_reference({tokens, 2, 2, 32}, AttentionMask({.causal = true, .window = 40}, tokens, documents), shards);
  }
}

INSTANTIATE_TEST_SUITE_P(Isa, CpuAttention, testing::ValuesIn(isas_of_this_processor()), name_of_isa);

}  // namespace
}  // namespace rondo::test

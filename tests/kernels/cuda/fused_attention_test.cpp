// SPDX-License-Identifier: Apache-2.0
// The fused attention kernels against the reference backend.
#include <array>

#include "core/sequence_layout.hpp"
#include "tests/kernels/cuda/attention_on_device.hpp"
#include "tests/support/attention.hpp"

namespace rondo::test {
namespace {

struct Problem {
  std::int64_t tokens, heads, kv_heads, dim;
};

std::vector<TokenRuns> shares_of(std::int64_t tokens, int ranks, LayoutKind kind) {
  const SequenceLayout layout(tokens, ranks, kind);
  std::vector<TokenRuns> shards;
  for (int rank = 0; rank < ranks; ++rank) shards.push_back(layout.runs(rank));
  return shards;
}

/// Contiguous shards of these lengths.
std::vector<TokenRuns> cut(const std::vector<std::int64_t>& lengths) {
  std::vector<TokenRuns> shards;
  std::int64_t first = 0;
  for (const std::int64_t length : lengths) {
    shards.push_back(TokenRuns::contiguous(first, length));
    first += length;
  }
  return shards;
}

/// `num_documents` documents of uneven lengths.
std::vector<std::int64_t> uneven_documents(std::int64_t tokens, std::int64_t num_documents) {
  std::vector<std::int64_t> offsets{0};
  for (std::int64_t i = 1; i < num_documents; ++i) offsets.push_back(tokens * i * i / (num_documents * num_documents));
  offsets.push_back(tokens);
  return offsets;
}

void expect_same_bits(const AttentionResult& a, const AttentionResult& b) {
  EXPECT_EQ(max_difference(a.out, b.out), 0);
  EXPECT_EQ(max_difference(a.lse, b.lse), 0);
  EXPECT_EQ(max_difference(a.d_q, b.d_q), 0);
  EXPECT_EQ(max_difference(a.d_k, b.d_k), 0);
  EXPECT_EQ(max_difference(a.d_v, b.d_v), 0);
}

class FusedAttention : public testing::Test {
 protected:
  void SetUp() override {
    std::string why_none;
    device = open_cuda_device(why_none);
    if (device == nullptr) GTEST_SKIP() << "no GPU: " << why_none;
    backend = make_cuda_backend(*device);
    attention = std::make_unique<AttentionOnDevice>(*device, *backend);
    set_turn_order(TurnOrder::Ascending);
  }

  void expect_like_reference(const AttentionInput& input, const AttentionMask& mask,
                             const std::vector<TokenRuns>& query_shards, const std::vector<TokenRuns>& key_shards) {
    const double scale = 1 / std::sqrt(static_cast<double>(input.q.shape()[2]));
    const AttentionResult plain = attention_by_blocks(*reference, input, mask, scale, query_shards, key_shards);
    const AttentionResult exact = attention_in_one_block(*reference, input.converted(DType::Fp64), mask, scale);
    const AttentionResult result = attention_by_blocks(*attention, input, mask, scale, query_shards, key_shards);
    expect_within_tolerance(result, plain, exact);
  }
  void expect_like_reference(const Problem& p, const AttentionMask& mask, const std::vector<TokenRuns>& query_shards,
                             const std::vector<TokenRuns>& key_shards) {
    SCOPED_TRACE(testing::Message() << p.tokens << " tokens, heads " << p.heads << ":" << p.kv_heads << ", dim "
                                    << p.dim);
    const auto input = AttentionInput::random(DType::Bf16, p.tokens, p.heads, p.kv_heads, p.dim, 7);
    expect_like_reference(input, mask, query_shards, key_shards);
  }
  void expect_like_reference(const Problem& p, const AttentionMask& mask) {
    expect_like_reference(p, mask, cut({p.tokens}), cut({p.tokens}));
  }

  std::unique_ptr<Device> device;
  std::unique_ptr<Backend> backend;
  std::unique_ptr<AttentionOnDevice> attention;
  std::unique_ptr<Backend> reference = make_reference_backend(cpu_device());
};

// 128 queries forward and for d_q, 64 keys forward, 32 for d_q, 64 keys and 32 queries for d_k and d_v are the tiles.
constexpr std::array<std::int64_t, 9> kNastyLengths{15, 16, 17, 63, 64, 65, 127, 130, 200};

TEST_F(FusedAttention, MatchesTheReferenceForNastyLengths) {
  for (const std::int64_t tokens : kNastyLengths) {
    expect_like_reference({tokens, 2, 1, 64}, AttentionMask({.causal = true}, tokens));
    expect_like_reference({tokens, 1, 1, 32}, AttentionMask({.causal = false}, tokens));
  }
}

// The reference is exact here, p is 1 to the last bit, so the tolerance rule allows nothing. The kernel computes
// p = 2^(s log2(e) - m log2(e)), whose two products are rounded apart: p is off by |s| 2^-24 at most, and |s| < 8; on a GPU by
// 2^-22 more, the error of its powers of 2. The values are below 4.
TEST_F(FusedAttention, GivesTheValueOfTheOnlyKey) {
  constexpr double allowed = 4 * (0x1p-21 + 0x1p-22);
  const auto input = AttentionInput::random(DType::Bf16, 1, 4, 2, 64, 7);
  const AttentionMask mask({.causal = true}, 1);
  const AttentionResult result = attention_in_one_block(*attention, input, mask, 0.125);
  const AttentionResult exact = attention_in_one_block(*reference, input.converted(DType::Fp64), mask, 0.125);
  EXPECT_LT(max_difference(result.out, exact.out), allowed);
  EXPECT_LT(max_difference(result.lse, exact.lse), allowed);
  // d_out v - delta is the difference of two equal sums of 64 products below 64.
  EXPECT_LT(max_difference(result.d_q, exact.d_q), 64 * allowed);
  EXPECT_LT(max_difference(result.d_k, exact.d_k), 64 * allowed);
  EXPECT_EQ(max_difference(result.d_v, exact.d_v), 0);
}

TEST_F(FusedAttention, MatchesTheReferenceForBlocksOfUnequalLengths) {
  const std::vector<std::int64_t> some{130, 1, 63}, others{17, 112, 65};
  for (const bool causal : {true, false}) {
    const AttentionMask mask({.causal = causal}, 194);
    expect_like_reference({194, 1, 1, 64}, mask, cut(some), cut(others));
    expect_like_reference({194, 1, 1, 32}, mask, cut(others), cut(some));
  }
}

TEST_F(FusedAttention, MatchesTheReferenceForAllHeadDimensionsAndGroups) {
  for (const std::int64_t dim : {32, 64, 96, 128}) {
    expect_like_reference({97, 1, 1, dim}, AttentionMask({.causal = true}, 97));
    expect_like_reference({130, 4, 1, dim}, AttentionMask({.causal = true}, 130));
  }
  expect_like_reference({65, 8, 1, 128}, AttentionMask({.causal = false}, 65));
  expect_like_reference({33, 16, 2, 64}, AttentionMask({.causal = true}, 33));
}

TEST_F(FusedAttention, MatchesTheReferenceForAllMasksAndLayouts) {
  constexpr std::int64_t tokens = 211;
  for (const LayoutKind kind : kLayoutKinds) {
    SCOPED_TRACE(name_of(kind));
    const std::vector<TokenRuns> shards = shares_of(tokens, 2, kind);
    const auto documents = uneven_documents(tokens, 5);
    expect_like_reference({tokens, 2, 1, 32}, AttentionMask({.causal = true}, tokens), shards, shards);
    expect_like_reference({tokens, 2, 1, 32}, AttentionMask({.causal = true, .window = 40}, tokens), shards, shards);
    expect_like_reference({tokens, 2, 1, 32}, AttentionMask({.causal = true}, tokens, documents), shards, shards);
    expect_like_reference({tokens, 2, 1, 32}, AttentionMask({.causal = false}, tokens, documents), shards, shards);
    expect_like_reference({tokens, 2, 1, 32}, AttentionMask({.causal = true, .window = 9}, tokens, documents), shards,
                          shards);
  }
}

// As Infini-attention has it: a query sees its own segment and some before it, all of which this rank has.
TEST_F(FusedAttention, MatchesTheReferenceForSegments) {
  constexpr std::int64_t tokens = 211;
  const auto documents = uneven_documents(tokens, 4);
  for (const std::int64_t window_segments : {0, 1, 3}) {
    const AttentionMask::Rule rule{.causal = true, .segment_tokens = 37, .window_segments = window_segments};
    expect_like_reference({tokens, 4, 2, 64}, AttentionMask(rule, tokens));
    expect_like_reference({tokens, 2, 1, 32}, AttentionMask(rule, tokens, documents), cut({70, 141}), cut({tokens}));
  }
}

TEST_F(FusedAttention, TakesBlocksInAnyOrder) {
  constexpr std::int64_t tokens = 260;
  const AttentionMask mask({.causal = true}, tokens);
  auto shards = shares_of(tokens, 2, LayoutKind::Zigzag);
  const std::vector<TokenRuns> reversed(shards.rbegin(), shards.rend());
  expect_like_reference({tokens, 2, 1, 64}, mask, shards, reversed);
}

TEST_F(FusedAttention, HoldsWithLargeLogits) {
  constexpr std::int64_t tokens = 170;
  AttentionInput input = AttentionInput::random(DType::Bf16, tokens, 2, 1, 64, 11);
  for (std::int64_t i = 0; i < input.q.count(); ++i) input.q.set(i, input.q[i] * 40);
  expect_like_reference(input, AttentionMask({.causal = true}, tokens), cut({100, 70}), cut({70, 100}));
}

TEST_F(FusedAttention, HoldsOnRealisticActivations) {
  // A few channels are much larger than the rest, keys have a common offset, and the first token draws most attention.
  constexpr std::int64_t tokens = 200, dim = 64;
  AttentionInput input = AttentionInput::random(DType::Bf16, tokens, 2, 1, dim, 13);
  for (std::int64_t t = 0; t < tokens; ++t) {
    for (std::int64_t d = 0; d < dim; ++d) {
      const double channel = d % 29 == 3 ? 8 : 0.7;
      input.k.set(t * dim + d, channel * input.k[t * dim + d] + (d % 7 == 0 ? 2 : 0.2));
      if (t == 0) input.k.set(d, 3 * input.k[d]);
    }
  }
  expect_like_reference(input, AttentionMask({.causal = true}, tokens), cut({tokens}), cut({tokens}));
}

// More documents than the parameters of one kernel hold.
TEST_F(FusedAttention, ReadsAnyNumberOfDocuments) {
  constexpr std::int64_t tokens = 900;
  std::vector<std::int64_t> offsets;
  for (std::int64_t i = 0; i <= tokens; i += 1 + i % 2) offsets.push_back(i);
  if (offsets.back() != tokens) offsets.push_back(tokens);
  ASSERT_GT(offsets.size(), 400U);
  expect_like_reference({tokens, 1, 1, 32}, AttentionMask({.causal = false}, tokens, offsets));
}

TEST_F(FusedAttention, GivesTheSameBitsAgain) {
  constexpr std::int64_t tokens = 150;
  const AttentionMask mask({.causal = true, .window = 70}, tokens, uneven_documents(tokens, 3));
  const auto input = AttentionInput::random(DType::Bf16, tokens, 4, 2, 64, 3);
  const auto shards = shares_of(tokens, 2, LayoutKind::Zigzag);
  const AttentionResult once = attention_by_blocks(*attention, input, mask, 0.2, shards, shards);
  set_turn_order(TurnOrder::Descending);
  expect_same_bits(attention_by_blocks(*attention, input, mask, 0.2, shards, shards), once);
}

/// What one block gives to an empty carry.
struct OneBlock {
  Tensor out, lse;

  OneBlock(AttentionOnDevice& attention, const AttentionInput& input, const AttentionMask& mask,
           const TokenRuns& queries, const TokenRuns& keys, double scale = 0.25)
      : out(DType::Fp32, input.q.shape()),
        lse(Tensor::filled(DType::Fp32, {input.q.shape()[1], input.tokens()},
                           -std::numeric_limits<double>::infinity())) {
    Host host;
    attention.block_attention_forward(*host.stream, {.q = input.q,
                                                     .k = input.k,
                                                     .v = input.v,
                                                     .query_runs = queries,
                                                     .key_runs = keys,
                                                     .mask = mask.view(),
                                                     .scale = scale,
                                                     .carry = {.out = out, .lse = lse},
                                                     .scratch = host.scratch});
  }
};

TEST_F(FusedAttention, LeavesRowsWithoutKeysEmpty) {
  constexpr std::int64_t tokens = 64;
  const AttentionMask mask({.causal = true}, 2 * tokens);
  const auto input = AttentionInput::random(DType::Bf16, tokens, 2, 1, 32, 5);
  // Queries 10 ... 73 against keys 64 ... 127: the first 54 queries see none of them.
  const OneBlock block(*attention, input, mask, TokenRuns::contiguous(10, tokens), TokenRuns::contiguous(64, tokens));
  for (std::int64_t t = 0; t < tokens; ++t) {
    EXPECT_EQ(std::isinf(block.lse[t]), t < 54) << t;
    EXPECT_EQ(block.out[t * 64] == 0, t < 54) << t;
  }
}

// The same block at positions that need more than 32 bits, and with strides of a large ring.
TEST_F(FusedAttention, CountsPositionsIn64Bits) {
  constexpr std::int64_t tokens = 130, far = std::int64_t{1} << 40, stride = std::int64_t{1} << 20;
  const auto input = AttentionInput::random(DType::Bf16, tokens, 1, 1, 32, 5);
  const AttentionMask near_mask({.causal = true, .window = 50}, tokens);
  const AttentionMask far_mask({.causal = true, .window = 50 * stride}, far + tokens * stride);
  TokenRuns runs;
  runs.append(far, stride, tokens);
  const auto all = TokenRuns::contiguous(0, tokens);
  const OneBlock near(*attention, input, near_mask, all, all), distant(*attention, input, far_mask, runs, runs);
  EXPECT_EQ(max_difference(near.out, distant.out), 0);
  EXPECT_EQ(max_difference(near.lse, distant.lse), 0);
}

// All scores are equal, and so are the sums of p v over two halves of the keys: to the last bit, if what the first tiles gave is
// not scaled with every tile that follows.
TEST_F(FusedAttention, WeighsTheFirstTileAsTheLast) {
  constexpr std::int64_t queries = 16, keys = 40 * 64, dim = 32;
  AttentionInput input{.q = Tensor::filled(DType::Bf16, {queries, 1, dim}, 1),
                       .k = Tensor::filled(DType::Bf16, {keys, 1, dim}, 1),
                       .v = Tensor(DType::Bf16, {keys, 1, dim}),
                       .d_out = {}};
  for (std::int64_t j = 0; j < keys; ++j) input.v.set(j * dim + (j < keys / 2 ? 0 : 1), 1);
  const AttentionMask mask({.causal = false}, keys);
  for (const double score : {7.3, 31.7, 93.1, 411.9}) {
    const OneBlock block(*attention, input, mask, TokenRuns::contiguous(0, queries), TokenRuns::contiguous(0, keys),
                         score / dim);
    EXPECT_EQ(block.out[0], block.out[1]) << score;
    EXPECT_NEAR(block.out[0], 0.5, 1e-4) << score;  // sums of 2,560 terms in fp32
  }
}

void expect_same_rows(const Tensor& a, const Tensor& b, std::int64_t first, std::int64_t end) {
  const std::int64_t row = a.shape().row_count();
  for (std::int64_t i = first * row; i < end * row; ++i) ASSERT_EQ(a[i], b[i]) << "row " << i / row;
}

bool are_all_finite(const Tensor& tensor, std::int64_t first, std::int64_t end) {
  const std::int64_t row = tensor.shape().row_count();
  for (std::int64_t i = first * row; i < end * row; ++i) {
    if (!std::isfinite(tensor[i])) return false;
  }
  return true;
}

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNotANumber = std::numeric_limits<double>::quiet_NaN();

// Infinity and NaN in tiles that are seen in part: by later queries, by the queries of a document. The plain kernels have 48.
TEST_F(FusedAttention, LetsNothingThroughOfKeysThatAQueryDoesNotSee) {
  constexpr std::int64_t tokens = 200, border = 90, spoilt = 120;
  const AttentionMask mask({.causal = true}, tokens, {0, border, tokens});
  for (const std::int64_t dim : {64, 128, 48}) {
    SCOPED_TRACE(dim);
    AttentionInput input = AttentionInput::random(DType::Bf16, tokens, 2, 1, dim, 9);
    const AttentionResult clean = attention_in_one_block(*attention, input, mask, 0.125);
    input.v.set(spoilt * dim + 3, kInfinity);
    input.v.set((spoilt + 1) * dim + 5, kNotANumber);
    input.k.set((spoilt + 2) * dim + 7, -kInfinity);
    input.k.set((spoilt + 3) * dim + 9, kNotANumber);
    const AttentionResult result = attention_in_one_block(*attention, input, mask, 0.125);
    expect_same_rows(result.out, clean.out, 0, spoilt);
    expect_same_rows(result.d_q, clean.d_q, 0, spoilt);
    expect_same_rows(result.d_k, clean.d_k, 0, border);
    expect_same_rows(result.d_v, clean.d_v, 0, border);
    for (std::int64_t t = spoilt; t < tokens; ++t) EXPECT_FALSE(are_all_finite(result.out, t, t + 1)) << t;
  }
}

TEST_F(FusedAttention, LetsNothingThroughOfQueriesThatDoNotSeeAKey) {
  constexpr std::int64_t tokens = 200, border = 90, spoilt = 40;
  const AttentionMask mask({.causal = true}, tokens, {0, border, tokens});
  for (const std::int64_t dim : {64, 128, 48}) {
    SCOPED_TRACE(dim);
    AttentionInput input = AttentionInput::random(DType::Bf16, tokens, 2, 1, dim, 9);
    const AttentionResult clean = attention_in_one_block(*attention, input, mask, 0.125);
    input.q.set((spoilt - 1) * 2 * dim + 3, kNotANumber);
    input.d_out.set(spoilt * 2 * dim + 3, kInfinity);
    const AttentionResult result = attention_in_one_block(*attention, input, mask, 0.125);
    expect_same_rows(result.out, clean.out, 0, spoilt - 1);
    expect_same_rows(result.out, clean.out, spoilt, tokens);
    expect_same_rows(result.d_q, clean.d_q, 0, spoilt - 1);
    expect_same_rows(result.d_q, clean.d_q, spoilt + 1, tokens);
    expect_same_rows(result.d_k, clean.d_k, spoilt + 1, tokens);
    expect_same_rows(result.d_v, clean.d_v, spoilt + 1, tokens);
    EXPECT_FALSE(are_all_finite(result.d_k, 0, 1));
    EXPECT_FALSE(are_all_finite(result.d_v, spoilt, spoilt + 1));
  }
}

TEST_F(FusedAttention, PassesOnWhatIsNotANumber) {
  constexpr std::int64_t tokens = 100;
  const AttentionMask mask({.causal = true}, tokens);
  AttentionInput input = AttentionInput::random(DType::Bf16, tokens, 1, 1, 32, 5);
  input.k.set(40 * 32 + 3, std::numeric_limits<double>::quiet_NaN());
  const AttentionResult result = attention_in_one_block(*attention, input, mask, 0.25);
  EXPECT_TRUE(std::isfinite(result.out[39 * 32]));
  for (const std::int64_t t : {40, 41, 63, 99}) {
    EXPECT_TRUE(std::isnan(result.out[t * 32])) << t;
    EXPECT_TRUE(std::isnan(result.d_q[t * 32])) << t;
  }
}

}  // namespace
}  // namespace rondo::test

// SPDX-License-Identifier: Apache-2.0
// The mask against its definition, written as one condition on a (query, key) pair and evaluated pair by
// pair.
#include "core/attention_mask.hpp"

#include <gtest/gtest.h>
#include <random>

#include "core/sequence_layout.hpp"

namespace rondo {
namespace {

struct Case {
  AttentionMask::Rule rule;
  std::int64_t tokens;
  std::vector<std::int64_t> documents;

  std::string text() const {
    std::string words = std::string(rule.causal ? "causal" : "full") + ", window " + std::to_string(rule.window) +
                        ", segments " + std::to_string(rule.segment_tokens) + "/" +
                        std::to_string(rule.window_segments) + ", tokens " + std::to_string(tokens) + ", documents";
    for (std::int64_t offset : documents) words += " " + std::to_string(offset);
    return words;
  }
};

bool sees(const Case& c, std::int64_t i, std::int64_t j) {
  if ((c.rule.causal || c.rule.window > 0) && j > i) return false;
  if (c.rule.window > 0 && i - j >= c.rule.window) return false;
  std::int64_t document = 0;  // where that of i begins
  for (const std::int64_t offset : c.documents) document = offset <= i ? offset : document;
  if (const std::int64_t L = c.rule.segment_tokens; L > 0 && j >= document) {
    if ((i - document) / L - (j - document) / L > c.rule.window_segments) return false;
  }
  for (std::size_t d = 0; d + 1 < c.documents.size(); ++d) {
    const auto inside = [&](std::int64_t p) { return c.documents[d] <= p && p < c.documents[d + 1]; };
    if (inside(i) != inside(j)) return false;
  }
  return true;
}

// Masks of 1 to 40 tokens: causal or not, with and without a window, with no document offsets or some, also
// equal ones.
std::vector<Case> random_cases(int count) {
  std::mt19937 random(20240229);
  const auto below = [&random](std::int64_t n) {
    return static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(n));
  };
  std::vector<Case> cases;
  for (int n = 0; n < count; ++n) {
    Case c{.rule = {.causal = below(3) > 0, .window = below(2) * below(20)}, .tokens = 1 + below(40), .documents = {}};
    if (below(3) == 0) c.rule.segment_tokens = 1 + below(9), c.rule.window_segments = below(3);
    if (below(3) > 0) {
      c.documents = {0, c.tokens};
      for (std::int64_t extra = below(6); extra > 0; --extra) c.documents.push_back(below(c.tokens + 1));
      std::sort(c.documents.begin(), c.documents.end());
    }
    cases.push_back(std::move(c));
  }
  return cases;
}

// The shards that the masks are asked about: those of every layout over 1 to 4 ranks.
std::vector<TokenRuns> shares_of(std::int64_t tokens) {
  std::vector<TokenRuns> shards;
  for (LayoutKind kind : kLayoutKinds) {
    for (int ring = 1; ring <= std::min<std::int64_t>(4, tokens); ++ring) {
      for (int rank = 0; rank < ring; ++rank) shards.push_back(SequenceLayout(tokens, ring, kind).runs(rank));
    }
  }
  return shards;
}

std::int64_t pairs_by_hand(const Case& c, const TokenRun& queries, const TokenRun& keys) {
  std::int64_t pairs = 0;
  for (std::int64_t q = 0; q < queries.count; ++q) {
    for (std::int64_t k = 0; k < keys.count; ++k) pairs += sees(c, queries.global_of(q), keys.global_of(k)) ? 1 : 0;
  }
  return pairs;
}

TEST(AttentionMask, ShowsEachQueryTheKeysOfItsDefinition) {
  for (const Case& c : random_cases(300)) {
    SCOPED_TRACE(c.text());
    const AttentionMask mask(c.rule, c.tokens, c.documents);
    for (std::int64_t i = 0; i < c.tokens; ++i) {
      const KeyInterval keys = mask.keys_of(i);
      for (std::int64_t j = 0; j < c.tokens; ++j)
        ASSERT_EQ(keys.begin <= j && j < keys.end, sees(c, i, j)) << i << ' ' << j;
    }
  }
}

TEST(AttentionMask, NeverMovesAnIntervalBack) {
  for (const Case& c : random_cases(300)) {
    SCOPED_TRACE(c.text());
    const AttentionMask mask(c.rule, c.tokens, c.documents);
    for (std::int64_t i = 1; i < c.tokens; ++i) {
      ASSERT_GE(mask.keys_of(i).begin, mask.keys_of(i - 1).begin);
      ASSERT_GE(mask.keys_of(i).end, mask.keys_of(i - 1).end);
    }
  }
}

TEST(AttentionMask, CoversRunsAsCountingPairsSays) {
  for (const Case& c : random_cases(60)) {
    SCOPED_TRACE(c.text());
    const AttentionMask mask(c.rule, c.tokens, c.documents);
    const auto shards = shares_of(c.tokens);
    for (const TokenRuns& queries : shards) {
      for (const TokenRuns& keys : shards) {
        std::int64_t pairs = 0;
        for (const TokenRun& q : queries) {
          for (const TokenRun& k : keys) {
            const std::int64_t here = pairs_by_hand(c, q, k);
            const MaskCoverage expected = here == 0                   ? MaskCoverage::None
                                          : here == q.count * k.count ? MaskCoverage::All
                                                                      : MaskCoverage::Partial;
            ASSERT_EQ(coverage(mask.view(), q, k), expected);
            pairs += here;
          }
        }
        ASSERT_EQ(count_pairs(mask.view(), queries, keys), pairs);
        ASSERT_EQ(attends(mask.view(), queries, keys), pairs > 0);
      }
    }
  }
}

// A loop over the queries would take minutes.
TEST(AttentionMask, CountsThePairsOfALongSequence) {
  constexpr std::int64_t kTokens = std::int64_t{1} << 31;
  const AttentionMask causal({.causal = true}, kTokens), window({.window = 1000}, kTokens);
  const AttentionMask segments({.segment_tokens = 1 << 20, .window_segments = 1}, kTokens);
  const TokenRuns all = TokenRuns::contiguous(0, kTokens);
  const auto triangle = [](std::int64_t n) { return n * (n + 1) / 2; };
  EXPECT_EQ(count_pairs(causal.view(), all, all), triangle(kTokens));
  EXPECT_EQ(count_pairs(window.view(), all, all), 1000 * kTokens - triangle(999));
  EXPECT_EQ(count_pairs(segments.view(), all, all), 2048 * triangle(1 << 20) + 2047 * (std::int64_t{1} << 40));
  std::int64_t striped = 0;
  for (const std::int64_t q : {0, 1, 2}) {
    for (const std::int64_t k : {0, 1, 2}) {
      TokenRuns queries, keys;
      queries.append(q, 3, (kTokens - q + 2) / 3);
      keys.append(k, 3, (kTokens - k + 2) / 3);
      striped += count_pairs(causal.view(), queries, keys);
    }
  }
  EXPECT_EQ(striped, triangle(kTokens));
}

TEST(AttentionMask, ClipsAnIntervalToTheIndicesOfARun) {
  const TokenRun run{.global_first = 10, .stride = 3, .count = 4, .local_first = 0};  // 10 13 16 19
  EXPECT_EQ(clip_to_run({0, 10}, run).end, 0);
  EXPECT_EQ(clip_to_run({0, 11}, run).end, 1);
  EXPECT_EQ(clip_to_run({11, 17}, run).begin, 1);
  EXPECT_EQ(clip_to_run({11, 17}, run).end, 3);
  EXPECT_EQ(clip_to_run({20, 99}, run).begin, 4);
}

TEST(AttentionMask, RefusesDocumentOffsetsThatDoNotAscendToTheEnd) {
  EXPECT_THROW(AttentionMask({}, 10, {0, 5}), DataError);
  EXPECT_THROW(AttentionMask({}, 10, {1, 10}), DataError);
  EXPECT_THROW(AttentionMask({}, 10, {0, 7, 5, 10}), DataError);
  EXPECT_THROW(AttentionMask({}, 10, {10}), DataError);
}

TEST(AttentionMask, KeepsItsViewValidWhenMoved) {
  AttentionMask first({.causal = true}, 10, {0, 4, 10});
  const AttentionMask second = std::move(first);
  EXPECT_EQ(second.keys_of(5).begin, 4);
  EXPECT_EQ(second.view().document_offsets, second.document_offsets().data());
}

}  // namespace
}  // namespace rondo

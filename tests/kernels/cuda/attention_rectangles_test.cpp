// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/attention_rectangles.hpp"

#include <gtest/gtest.h>
#include <map>

#include "core/sequence_layout.hpp"

namespace rondo::test {
namespace {

using cuda::are_cut_by_documents;
using cuda::AttentionRectangle;
using cuda::AttentionRectangles;
using cuda::RectangleKind;
using cuda::rectangles_of;

/// How often each (query, key) pair of local rows is in a rectangle.
std::map<std::pair<std::int64_t, std::int64_t>, int> pairs_of(const AttentionRectangles& rectangles) {
  std::map<std::pair<std::int64_t, std::int64_t>, int> pairs;
  for (const AttentionRectangle& r : rectangles) {
    for (std::int64_t i = 0; i < r.num_queries; ++i) {
      const std::int64_t seen = r.kind == RectangleKind::Causal ? i + 1 : r.num_keys;
      for (std::int64_t j = 0; j < seen; ++j) ++pairs[{r.query_begin + i, r.key_begin + j}];
    }
  }
  return pairs;
}

std::map<std::pair<std::int64_t, std::int64_t>, int> visible_pairs(const AttentionMask& mask, const TokenRuns& queries,
                                                                   const TokenRuns& keys) {
  std::map<std::pair<std::int64_t, std::int64_t>, int> pairs;
  for (std::int64_t i = 0; i < queries.num_tokens(); ++i) {
    const KeyInterval seen = mask.keys_of(queries.global_of(i));
    for (std::int64_t j = 0; j < keys.num_tokens(); ++j) {
      const std::int64_t position = keys.global_of(j);
      if (position >= seen.begin && position < seen.end) pairs[{i, j}] = 1;
    }
  }
  return pairs;
}

struct Tally {
  int cut = 0, not_cut = 0;
};

/// Every block of every small world under a mask; counts those that were cut into rectangles.
Tally check_worlds(const AttentionMask& mask, std::int64_t span) {
  Tally tally;
  for (const LayoutKind kind : kLayoutKinds) {
    for (int ring = 1; ring <= std::min<std::int64_t>(5, span); ++ring) {
      const SequenceLayout layout(span, ring, kind);
      for (int rank = 0; rank < ring; ++rank) {
        for (int shard = 0; shard < ring; ++shard) {
          const TokenRuns queries = layout.runs(rank), keys = layout.runs(shard);
          const auto rectangles = rectangles_of(mask.view(), queries, keys);
          if (!rectangles) {
            ++tally.not_cut;
            continue;
          }
          ++tally.cut;
          EXPECT_EQ(pairs_of(*rectangles), visible_pairs(mask, queries, keys))
              << name_of(kind) << ", span " << span << ", queries of " << rank << " of " << ring << ", keys of "
              << shard;
        }
      }
    }
  }
  return tally;
}

TEST(AttentionRectangles, HoldEveryVisiblePairOnceInAllWorldsOfOneDocument) {
  for (std::int64_t span = 1; span <= 33; ++span) {
    EXPECT_EQ(check_worlds(AttentionMask({.causal = true}, span), span).not_cut, 0);
    EXPECT_EQ(check_worlds(AttentionMask({.causal = false}, span), span).not_cut, 0);
  }
}

TEST(AttentionRectangles, HoldEveryVisiblePairOnceWithDocuments) {
  for (const bool causal : {true, false}) {
    Tally all;
    for (const std::vector<std::int64_t>& offsets :
         {std::vector<std::int64_t>{0, 1, 29}, {0, 7, 8, 29}, {0, 10, 20, 29}, {0, 14, 29}, {0, 2, 4, 6, 8, 10, 29}}) {
      const Tally tally = check_worlds(AttentionMask({.causal = causal}, 29, offsets), 29);
      all.cut += tally.cut;
      all.not_cut += tally.not_cut;
    }
    EXPECT_GT(all.cut, all.not_cut);
  }
}

TEST(AttentionRectangles, HoldEveryVisiblePairOnceWithAWindowOrGiveUp) {
  Tally all;
  for (const std::int64_t window : {1, 3, 8, 24, 25}) {
    for (const bool causal : {true, false}) {
      const Tally tally = check_worlds(AttentionMask({.causal = causal, .window = window}, 24), 24);
      all.cut += tally.cut;
      all.not_cut += tally.not_cut;
    }
  }
  EXPECT_GT(all.cut, 0);
  EXPECT_GT(all.not_cut, 0);
}

TEST(AttentionRectangles, HoldEveryVisiblePairOnceWithSegmentsOrGiveUp) {
  Tally all;
  for (const std::int64_t segment_tokens : {1, 3, 8, 24, 25}) {
    for (const std::int64_t window_segments : {0, 1, 3}) {
      for (const std::vector<std::int64_t>& offsets : {std::vector<std::int64_t>{}, {0, 5, 24}, {0, 1, 17, 24}}) {
        const AttentionMask::Rule rule{
            .causal = true, .segment_tokens = segment_tokens, .window_segments = window_segments};
        const Tally tally = check_worlds(AttentionMask(rule, 24, offsets), 24);
        all.cut += tally.cut;
        all.not_cut += tally.not_cut;
      }
    }
  }
  EXPECT_GT(all.cut, 0);
  EXPECT_GT(all.not_cut, 0);
}

/// The rectangles of one block of a long causal sequence.
std::vector<AttentionRectangle> causal_block(LayoutKind kind, int rank, int shard) {
  const std::int64_t span = 4 * 4096;
  const SequenceLayout layout(span, 4, kind);
  const auto rectangles =
      rectangles_of(AttentionMask({.causal = true}, span).view(), layout.runs(rank), layout.runs(shard));
  EXPECT_TRUE(rectangles.has_value());
  return {rectangles->begin(), rectangles->end()};
}
using Blocks = std::vector<AttentionRectangle>;

TEST(AttentionRectangles, AreTheThreeBlocksOfAZigzagRing) {
  EXPECT_EQ(causal_block(LayoutKind::Zigzag, 1, 1), (Blocks{{RectangleKind::Causal, 0, 4096, 0, 4096}}));
  EXPECT_EQ(causal_block(LayoutKind::Zigzag, 2, 1), (Blocks{{RectangleKind::Full, 0, 4096, 0, 2048}}));
  EXPECT_EQ(causal_block(LayoutKind::Zigzag, 1, 2), (Blocks{{RectangleKind::Full, 2048, 2048, 0, 4096}}));
}

TEST(AttentionRectangles, AreASquareAllOrNothingInAContiguousRing) {
  EXPECT_EQ(causal_block(LayoutKind::Contiguous, 1, 1), (Blocks{{RectangleKind::Causal, 0, 4096, 0, 4096}}));
  EXPECT_EQ(causal_block(LayoutKind::Contiguous, 2, 1), (Blocks{{RectangleKind::Full, 0, 4096, 0, 4096}}));
  EXPECT_EQ(causal_block(LayoutKind::Contiguous, 1, 2), Blocks{});
}

TEST(AttentionRectangles, AreCausalSquaresInAStripedRing) {
  EXPECT_EQ(causal_block(LayoutKind::Striped, 2, 1), (Blocks{{RectangleKind::Causal, 0, 4096, 0, 4096}}));
  EXPECT_EQ(causal_block(LayoutKind::Striped, 1, 2), (Blocks{{RectangleKind::Causal, 1, 4095, 0, 4095}}));
}

TEST(AttentionRectangles, AreOneSquareADocument) {
  const TokenRuns tokens = TokenRuns::contiguous(0, 3000);
  const auto rectangles = rectangles_of(AttentionMask({.causal = true}, 3000, {0, 1000, 3000}).view(), tokens, tokens);
  ASSERT_TRUE(rectangles.has_value());
  EXPECT_EQ((Blocks{rectangles->begin(), rectangles->end()}),
            (Blocks{{RectangleKind::Causal, 0, 1000, 0, 1000}, {RectangleKind::Causal, 1000, 2000, 1000, 2000}}));
}

TEST(AttentionRectangles, KnowWhetherDocumentsCutThem) {
  const AttentionMask whole({.causal = true}, 3000), cut({.causal = true}, 3000, {0, 1000, 3000});
  const auto is_cut = [](const AttentionMask& mask, const TokenRuns& tokens) {
    return are_cut_by_documents(*rectangles_of(mask.view(), tokens, tokens), mask.view(), tokens, tokens);
  };
  EXPECT_FALSE(is_cut(whole, TokenRuns::contiguous(0, 3000)));
  EXPECT_TRUE(is_cut(cut, TokenRuns::contiguous(0, 3000)));
  EXPECT_TRUE(is_cut(cut, TokenRuns::contiguous(900, 200)));
  EXPECT_FALSE(is_cut(cut, TokenRuns::contiguous(1000, 2000))) << "one document alone";
}

TEST(AttentionRectangles, AreOneSquareASegmentAndWhatItsWindowShows) {
  const TokenRuns tokens = TokenRuns::contiguous(0, 3000);
  const auto rectangles = [&](std::int64_t window_segments) {
    const AttentionMask mask({.causal = true, .segment_tokens = 1000, .window_segments = window_segments}, 3000);
    const auto cut = rectangles_of(mask.view(), tokens, tokens);
    EXPECT_TRUE(cut.has_value());
    return Blocks{cut->begin(), cut->end()};
  };
  EXPECT_EQ(rectangles(0), (Blocks{{RectangleKind::Causal, 0, 1000, 0, 1000},
                                   {RectangleKind::Causal, 1000, 1000, 1000, 1000},
                                   {RectangleKind::Causal, 2000, 1000, 2000, 1000}}));
  EXPECT_EQ(rectangles(1), (Blocks{{RectangleKind::Causal, 0, 2000, 0, 2000},
                                   {RectangleKind::Full, 2000, 1000, 1000, 1000},
                                   {RectangleKind::Causal, 2000, 1000, 2000, 1000}}));
  EXPECT_EQ(rectangles(2), (Blocks{{RectangleKind::Causal, 0, 3000, 0, 3000}}));
}

TEST(AttentionRectangles, GiveUpWhereThereAreMoreSegmentsThanRectangles) {
  const TokenRuns tokens = TokenRuns::contiguous(0, 9 * 512);
  EXPECT_FALSE(rectangles_of(AttentionMask({.causal = true, .segment_tokens = 512}, 9 * 512).view(), tokens, tokens));
}

TEST(AttentionRectangles, GiveUpWhereAWindowCutsTheBlock) {
  const TokenRuns tokens = TokenRuns::contiguous(0, 3000);
  EXPECT_FALSE(rectangles_of(AttentionMask({.causal = true, .window = 100}, 3000).view(), tokens, tokens));
}

}  // namespace
}  // namespace rondo::test

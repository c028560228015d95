// SPDX-License-Identifier: Apache-2.0
#include "core/sequence_layout.hpp"

#include <gtest/gtest.h>
#include <vector>

namespace rondo {
namespace {

constexpr std::int64_t kLongestSpan = 50;
constexpr int kLargestRing = 9;

std::vector<std::int64_t> positions_of(const TokenRuns& runs) {
  std::vector<std::int64_t> positions;
  for (std::int64_t local = 0; local < runs.num_tokens(); ++local) positions.push_back(runs.global_of(local));
  return positions;
}

// Every layout over rings of 1 to 9 ranks and spans from the ring size up to 50 tokens.
class EveryLayout : public testing::TestWithParam<LayoutKind> {
 protected:
  template <typename Check> void for_every_layout(Check check) const {
    for (int ring = 1; ring <= kLargestRing; ++ring) {
      for (std::int64_t span = ring; span <= kLongestSpan; ++span) {
        SCOPED_TRACE("ring " + std::to_string(ring) + ", span " + std::to_string(span));
        check(SequenceLayout(span, ring, GetParam()));
      }
    }
  }
};

TEST_P(EveryLayout, GivesEachPositionToExactlyOneRank) {
  for_every_layout([](const SequenceLayout& layout) {
    std::vector<int> owners(static_cast<std::size_t>(layout.span_tokens()), 0);
    for (int rank = 0; rank < layout.ring(); ++rank) {
      for (std::int64_t position : positions_of(layout.runs(rank))) {
        ASSERT_GE(position, 0);
        ASSERT_LT(position, layout.span_tokens());
        ++owners[static_cast<std::size_t>(position)];
      }
    }
    for (int count : owners) ASSERT_EQ(count, 1);
  });
}

TEST_P(EveryLayout, KeepsPositionsAscendingOnEachRank) {
  for_every_layout([](const SequenceLayout& layout) {
    for (int rank = 0; rank < layout.ring(); ++rank) {
      const auto positions = positions_of(layout.runs(rank));
      for (std::size_t next = 1; next < positions.size(); ++next) ASSERT_LT(positions[next - 1], positions[next]);
    }
  });
}

TEST_P(EveryLayout, LeavesNoRankEmpty) {
  for_every_layout([](const SequenceLayout& layout) {
    for (int rank = 0; rank < layout.ring(); ++rank) ASSERT_GE(layout.num_tokens(rank), 1);
  });
}

TEST_P(EveryLayout, KnowsItsLargestShare) {
  for_every_layout([](const SequenceLayout& layout) {
    std::int64_t largest = 0;
    for (int rank = 0; rank < layout.ring(); ++rank) {
      largest = std::max(largest, static_cast<std::int64_t>(positions_of(layout.runs(rank)).size()));
    }
    ASSERT_EQ(layout.max_tokens(), largest);
  });
}

TEST_P(EveryLayout, IsFoundByItsName) { EXPECT_EQ(layout_kind_from(name_of(GetParam())), GetParam()); }

INSTANTIATE_TEST_SUITE_P(Kinds, EveryLayout, testing::ValuesIn(kLayoutKinds),
                         [](const auto& kind) { return std::string(name_of(kind.param)); });

TEST(SequenceLayout, MatchesSharesDrawnByHand) {
  const SequenceLayout contiguous(7, 3, LayoutKind::Contiguous);
  EXPECT_EQ(positions_of(contiguous.runs(0)), (std::vector<std::int64_t>{0, 1, 2}));
  EXPECT_EQ(positions_of(contiguous.runs(2)), (std::vector<std::int64_t>{5, 6}));
  const SequenceLayout zigzag(8, 2, LayoutKind::Zigzag);
  EXPECT_EQ(positions_of(zigzag.runs(0)), (std::vector<std::int64_t>{0, 1, 6, 7}));
  EXPECT_EQ(positions_of(zigzag.runs(1)), (std::vector<std::int64_t>{2, 3, 4, 5}));
  const SequenceLayout striped(7, 3, LayoutKind::Striped);
  EXPECT_EQ(positions_of(striped.runs(0)), (std::vector<std::int64_t>{0, 3, 6}));
  EXPECT_EQ(positions_of(striped.runs(1)), (std::vector<std::int64_t>{1, 4}));
  const SequenceLayout block_cyclic(18, 2, LayoutKind::BlockCyclic);
  EXPECT_EQ(positions_of(block_cyclic.runs(0)), (std::vector<std::int64_t>{0, 1, 2, 6, 7, 10, 11, 14, 15}));
  EXPECT_EQ(positions_of(block_cyclic.runs(1)), (std::vector<std::int64_t>{3, 4, 5, 8, 9, 12, 13, 16, 17}));
  EXPECT_EQ(SequenceLayout(18, 1, LayoutKind::BlockCyclic).runs(0), TokenRuns::contiguous(0, 18));
}

TEST(SequenceLayout, BalancesCausalWorkWhenZigzag) {
  const SequenceLayout layout(4096, 4, LayoutKind::Zigzag);
  std::vector<std::int64_t> pairs(4, 0);
  for (int rank = 0; rank < 4; ++rank) {
    for (std::int64_t position : positions_of(layout.runs(rank))) pairs[static_cast<std::size_t>(rank)] += position + 1;
  }
  for (std::int64_t count : pairs) EXPECT_EQ(count, pairs[0]);
}

TEST(SequenceLayout, RefusesMoreRanksThanTokens) {
  EXPECT_THROW(SequenceLayout(3, 4, LayoutKind::Contiguous), ConfigError);
  EXPECT_THROW(SequenceLayout(3, 0, LayoutKind::Contiguous), ConfigError);
  EXPECT_THROW(layout_kind_from("zig-zag"), ConfigError);
  EXPECT_THROW(SequenceLayout(4, 2, LayoutKind::Striped).runs(2), Error);
}

}  // namespace
}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
// The schedules of all ranks of a ring are consistent, in a simulation without a transport.
#include "model/ring_schedule.hpp"

#include <gtest/gtest.h>
#include <map>
#include <set>
#include <string>

namespace rondo {
namespace {

struct World {
  SequenceLayout layout;
  std::vector<RingSchedule> ranks;

  World(std::int64_t tokens, int ring, LayoutKind kind, const AttentionMask& mask) : layout(tokens, ring, kind) {
    for (int rank = 0; rank < ring; ++rank) ranks.emplace_back(layout, mask.view(), rank);
  }
  std::size_t num_hops() const { return ranks[0].hops().size(); }
  const Hop& hop(int rank, std::size_t index) const {
    const RingSchedule& schedule = ranks[static_cast<std::size_t>(rank)];
    return index < schedule.hops().size() ? schedule.hops()[index] : schedule.last_gradients();
  }
  int size() const { return layout.ring(); }
};

// Every message that a rank sends in a hop is received by its peer in the same hop and carries the expected shard.
void expect_messages_match(const World& world) {
  for (std::size_t h = 0; h < world.num_hops(); ++h) {
    for (int rank = 0; rank < world.size(); ++rank) {
      const Hop& hop = world.hop(rank, h);
      if (hop.send_to != Hop::kNobody) {
        EXPECT_EQ(world.hop(hop.send_to, h).receive_from, rank);
        EXPECT_EQ(world.hop(hop.send_to, h + 1).shard, hop.shard);
      }
      if (hop.receive_from != Hop::kNobody) {
        EXPECT_EQ(world.hop(hop.receive_from, h).send_to, rank);
        EXPECT_EQ(world.hop(rank, h + 1).shard, hop.receive_shard);
      }
      if (hop.work) {
        EXPECT_NE(hop.shard, Hop::kNobody);
      }
    }
  }
}

// Follows the gradient of every shard: it ends at its owner and holds each remote contribution exactly once.
void expect_gradients_return_to_their_owners(const World& world) {
  std::map<int, std::set<int>> held,
      returned;  // by rank: contributors of the partial sum held; by shard: returned
  for (std::size_t h = 1; h <= world.num_hops(); ++h) {
    std::map<int, std::set<int>> arrived;
    for (int rank = 0; rank < world.size(); ++rank) {
      const Hop& hop = world.hop(rank, h);
      if (hop.send_gradient_to == Hop::kNobody) continue;
      const Hop& peer = world.hop(hop.send_gradient_to, h);
      if (peer.receive_gradient_from == rank) {
        EXPECT_EQ(peer.shard, hop.gradient_shard);
        arrived[hop.send_gradient_to] = held[rank];
      } else {
        EXPECT_EQ(peer.receive_own_gradient_from, rank);
        EXPECT_EQ(hop.send_gradient_to, hop.gradient_shard);
        EXPECT_TRUE(returned.emplace(hop.gradient_shard, held[rank]).second) << "a gradient returns once";
      }
    }
    for (int rank = 0; rank < world.size(); ++rank) {
      const Hop& hop = world.hop(rank, h);
      EXPECT_EQ(hop.receive_gradient_from != Hop::kNobody, arrived.contains(rank));
      held[rank] = arrived.contains(rank) ? arrived[rank] : std::set<int>{};
      if (hop.work) {
        EXPECT_TRUE(held[rank].insert(rank).second);
      }
    }
  }
  for (int shard = 0; shard < world.size(); ++shard) {
    std::set<int> expected;
    for (int rank = 0; rank < world.size(); ++rank) {
      for (std::size_t h = 1; h < world.num_hops(); ++h) {
        if (world.hop(rank, h).work && world.hop(rank, h).shard == shard) expected.insert(rank);
      }
    }
    EXPECT_EQ(returned[shard], expected) << "shard " << shard;
  }
}

void expect_every_needed_pair_is_worked_on_once(const World& world, const AttentionMask& mask) {
  for (int rank = 0; rank < world.size(); ++rank) {
    std::set<int> worked;
    for (const Hop& hop : world.ranks[static_cast<std::size_t>(rank)].hops()) {
      if (hop.work) {
        EXPECT_TRUE(worked.insert(hop.shard).second);
      }
    }
    for (int shard = 0; shard < world.size(); ++shard) {
      EXPECT_EQ(worked.contains(shard), attends(mask.view(), world.layout.runs(rank), world.layout.runs(shard)));
    }
  }
}

std::vector<AttentionMask> masks(std::int64_t tokens) {
  std::vector<AttentionMask> list;
  list.emplace_back(AttentionMask::Rule{.causal = true}, tokens);
  list.emplace_back(AttentionMask::Rule{.causal = false}, tokens);
  for (std::int64_t window : {1, 2, 7, 19})
    list.emplace_back(AttentionMask::Rule{.causal = true, .window = window}, tokens);
  list.emplace_back(AttentionMask::Rule{.causal = true}, tokens, std::vector<std::int64_t>{0, 1, tokens / 2, tokens});
  list.emplace_back(AttentionMask::Rule{.causal = false}, tokens, std::vector<std::int64_t>{0, 1, tokens - 2, tokens});
  return list;
}

TEST(RingSchedule, FitsTogetherOnAllRanksForEveryLayoutAndMask) {
  for (int ring = 1; ring <= 9; ++ring) {
    for (std::int64_t tokens : {std::int64_t{ring} + 4, std::int64_t{50}}) {
      for (LayoutKind kind : kLayoutKinds) {
        for (const AttentionMask& mask : masks(tokens)) {
          SCOPED_TRACE(std::string(name_of(kind)) + " ring " + std::to_string(ring) + " tokens " +
                       std::to_string(tokens));
          const World world(tokens, ring, kind, mask);
          expect_messages_match(world);
          expect_gradients_return_to_their_owners(world);
          expect_every_needed_pair_is_worked_on_once(world, mask);
        }
      }
    }
  }
}

TEST(RingSchedule, HasNoHopBeyondTheWindow) {
  const AttentionMask mask({.causal = true, .window = 10}, 80);
  const World world(80, 8, LayoutKind::Contiguous, mask);  // shards of 10: the window reaches only the previous shard
  EXPECT_EQ(world.num_hops(), 2U);
}

TEST(RingSchedule, GivesEveryRankTheSameWorkInZigzag) {
  const AttentionMask mask({.causal = true}, 4096);
  const SequenceLayout zigzag(4096, 4, LayoutKind::Zigzag), contiguous(4096, 4, LayoutKind::Contiguous);
  const auto work = [&](const SequenceLayout& layout, int rank) {
    return static_cast<double>(count_pairs(mask.view(), layout.runs(rank), TokenRuns::contiguous(0, 4096)));
  };
  const double mean = 4096.0 * 4097.0 / 2.0 / 4.0;
  for (int rank = 0; rank < 4; ++rank) EXPECT_NEAR(work(zigzag, rank) / mean, 1.0, 0.05);
  EXPECT_GT(work(contiguous, 3) / mean, 1.7);  // why zigzag is the default
}

}  // namespace
}  // namespace rondo

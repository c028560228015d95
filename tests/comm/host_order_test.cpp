// SPDX-License-Identifier: Apache-2.0
// Ranks of made-up hosts, as launchers deal them out.
#include "comm/host_order.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "comm/process_grid.hpp"
#include "tests/support/mpi_world.hpp"

namespace rondo::test {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::vector<int> order_of(const std::vector<std::string>& hosts) { return host_by_host(hosts); }

TEST(HostOrder, PutsTheRanksOfAHostBehindEachOther) {
  EXPECT_THAT(order_of({"b", "a", "b", "a"}), ElementsAre(0, 2, 1, 3)) << "mpirun --map-by node";
  EXPECT_THAT(order_of({"n3", "n1", "n2", "n1", "n3", "n1"}), ElementsAre(0, 4, 1, 3, 5, 2));
}

TEST(HostOrder, LeavesRanksThatFollowEachOtherAsTheyAre) {
  EXPECT_THAT(order_of({}), IsEmpty());
  EXPECT_THAT(order_of({"z", "z", "a", "a"}), ElementsAre(0, 1, 2, 3)) << "the order of hosts is the launcher's";
}

TEST(HostOrder, MakesNeighboursInARingOfRanksThatAreNoneForTheLauncher) {
  with_ranks(4, [](const Communicator& launched) {
    const std::string host = launched.rank() % 2 == 0 ? "even" : "odd";
    const Communicator world = launched.reordered(host_by_host(launched.all_gather(host)));
    EXPECT_THAT(world.all_gather(host), ElementsAre("even", "even", "odd", "odd"));
    EXPECT_THAT(world.all_gather(std::int64_t{launched.rank()}), ElementsAre(0, 2, 1, 3));
    const ProcessGrid grid(world, 2);
    EXPECT_THAT(grid.ring().all_gather(host), ElementsAre(host, host)) << "a ring does not leave its host";
    EXPECT_EQ(world.broadcast(host), "even");
  });
}

}  // namespace
}  // namespace rondo::test

// SPDX-License-Identifier: Apache-2.0
// Ranks and GPUs of made-up clusters.
#include "runtime/gpu_map.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.hpp"

namespace rondo {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const std::vector<std::string> kFour{"0000:17:00.0", "0000:2a:00.0", "0000:5d:00.0", "0000:9b:00.0"};

std::vector<RankGpus> ranks_of(const std::vector<std::pair<std::string, int>>& hosts,
                               const std::vector<std::string>& gpus) {
  std::vector<RankGpus> ranks;
  for (const auto& [host, count] : hosts) ranks.insert(ranks.end(), static_cast<std::size_t>(count), {host, gpus});
  return ranks;
}

Error refusal_of(const std::vector<RankGpus>& ranks) {
  try {
    map_ranks_to_gpus(ranks, GpuSharing::Refused);
  } catch (const DeviceError& error) {
    return error;
  }
  return Error(ErrorKind::Internal, "it was not refused");
}

TEST(GpuMap, GivesNeighboursInTheRingNeighboursInTheNode) {
  const auto ranks = ranks_of({{"n1", 4}, {"n2", 4}}, kFour);
  EXPECT_THAT(map_ranks_to_gpus(ranks, GpuSharing::Refused), ElementsAre(0, 1, 2, 3, 0, 1, 2, 3));
}

TEST(GpuMap, TakesTheOneGpuThatSlurmLetsARankSee) {
  std::vector<RankGpus> ranks;
  for (const std::string& bus_id : kFour) ranks.push_back({"n1", {bus_id}});
  EXPECT_THAT(map_ranks_to_gpus(ranks, GpuSharing::Refused), ElementsAre(0, 0, 0, 0));
}

TEST(GpuMap, FollowsTheBusAndNotTheOrderOfVisibleDevices) {
  const std::vector<std::string> rotated(kFour.rbegin(), kFour.rend());
  EXPECT_THAT(map_ranks_to_gpus(ranks_of({{"n1", 4}}, rotated), GpuSharing::Refused), ElementsAre(3, 2, 1, 0));
}

TEST(GpuMap, KnowsThatEveryHostHasItsOwnNumbering) {
  std::vector<RankGpus> ranks = ranks_of({{"small", 1}}, {kFour[2]});
  const auto large = ranks_of({{"large", 3}}, kFour);
  ranks.insert(ranks.end(), large.begin(), large.end());
  EXPECT_THAT(map_ranks_to_gpus(ranks, GpuSharing::Refused), ElementsAre(0, 0, 1, 2));
}

TEST(GpuMap, MovesARankAsideForOneThatSeesLess) {
  const std::vector<RankGpus> ranks{{"n1", {kFour[0], kFour[1]}}, {"n1", {kFour[0], kFour[2]}}, {"n1", {kFour[0]}}};
  EXPECT_THAT(map_ranks_to_gpus(ranks, GpuSharing::Refused), ElementsAre(1, 1, 0));
}

TEST(GpuMap, RefusesTwoRanksOnOneGpuWithAdvice) {
  const Error error = refusal_of(ranks_of({{"n1", 4}}, {kFour[0], kFour[1]}));
  EXPECT_THAT(error.message(), HasSubstr("4 ranks on host n1 would share 2 GPUs"));
  EXPECT_THAT(error.advice(), HasSubstr("at most 2 ranks"));
  EXPECT_THAT(error.advice(), HasSubstr("parallel.transport = \"mpi\""));
}

TEST(GpuMap, RefusesRanksThatTheLauncherBoundToOneGpu) {
  const Error error = refusal_of({{"n1", {kFour[0]}}, {"n1", {kFour[0]}}, {"n1", {kFour[1], kFour[2]}}});
  EXPECT_THAT(error.message(), HasSubstr("see the same GPU only"));
  EXPECT_THAT(error.advice(), HasSubstr("CUDA_VISIBLE_DEVICES"));
}

TEST(GpuMap, LetsNeighboursShareWhereThatIsAllowed) {
  EXPECT_THAT(map_ranks_to_gpus(ranks_of({{"n1", 4}}, {kFour[0], kFour[1]}), GpuSharing::Allowed),
              ElementsAre(0, 0, 1, 1));
  EXPECT_THAT(map_ranks_to_gpus(ranks_of({{"n1", 3}}, {kFour[3]}), GpuSharing::Allowed), ElementsAre(0, 0, 0));
  EXPECT_THAT(map_ranks_to_gpus(ranks_of({{"n1", 2}}, kFour), GpuSharing::Allowed), ElementsAre(0, 1))
      << "nobody shares while there is room";
}

TEST(GpuMap, NamesTheRankThatSeesNoGpu) {
  const Error error = refusal_of({{"n1", {kFour[0]}}, {"n2", {}}});
  EXPECT_THAT(error.message(), HasSubstr("rank 1 on host n2 sees no GPU"));
}

TEST(GpuMap, IsPrintedALineAHost) {
  const std::vector<RankGpus> ranks{{"n1", {kFour[1]}}, {"n2", kFour}, {"n1", kFour}};
  const std::vector<int> ordinals = map_ranks_to_gpus(ranks, GpuSharing::Refused);
  EXPECT_THAT(gpu_map_lines(ranks, ordinals),
              ElementsAre("n1: rank 0 on GPU 0 (0000:2a:00.0), rank 2 on GPU 0 (0000:17:00.0)",
                          "n2: rank 1 on GPU 0 (0000:17:00.0)"));
}

}  // namespace
}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
#include "plan/attention_kernels.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace rondo {
namespace {

using testing::ElementsAre;

TEST(DensestDocuments, AreThoseOfTheSequenceThatHasTheMost) {
  const std::vector<std::int64_t> offsets{0, 50, 100, 104, 110, 113, 200, 300};
  EXPECT_THAT(densest_documents(offsets, 20), ElementsAre(0, 2, 6, 12, 15, 20));
  EXPECT_THAT(densest_documents(offsets, 13), ElementsAre(0, 1, 7, 10, 13))
      << "what begins behind the end is not in it";
  EXPECT_THAT(densest_documents(std::vector<std::int64_t>{0, 1000, 2000}, 64), ElementsAre(0, 21, 64));
  EXPECT_THAT(densest_documents(std::vector<std::int64_t>{0, 1000}, 64), ElementsAre(0, 64));
}

}  // namespace
}  // namespace rondo

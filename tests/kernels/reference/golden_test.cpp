// SPDX-License-Identifier: Apache-2.0
#include "tests/support/golden.hpp"

#include <gtest/gtest.h>

namespace rondo::test {
namespace {

TEST(Golden, HoldsWeightsAndGradientsOfOneShape) {
  for (const char* name : {"tied_none", "untied_linear", "untied_llama3"}) {
    const auto golden = read_golden(std::string(RONDO_TESTS "/model/golden/llama_") + name + ".golden");
    EXPECT_EQ(golden.at("logits").shape(), (Shape{23, 31}));
    EXPECT_EQ(golden.at("config.layers")[0], 2);
    EXPECT_EQ(golden.count("parameter.head"), name[0] == 'u' ? 1U : 0U);
    for (const auto& [key, value] : golden) {
      if (!key.starts_with("parameter.")) continue;
      EXPECT_EQ(golden.at("gradient." + key.substr(10)).shape(), value.shape()) << key;
    }
  }
}

}  // namespace
}  // namespace rondo::test

// SPDX-License-Identifier: Apache-2.0
#include "infer/sampler.hpp"

#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <map>
#include <vector>

#include "core/error.hpp"
#include "core/random.hpp"

namespace rondo {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Logits of the probabilities 0.1 0.4 0.2 0.3, up to a constant.
const std::vector<double> kLogits{std::log(0.1) + 7, std::log(0.4) + 7, std::log(0.2) + 7, std::log(0.3) + 7};

std::int32_t sampled(const SamplingRule& rule, double uniform) { return sample_token(kLogits, rule, uniform); }

TEST(Sampler, CutsTheUnitIntervalInOrderOfId) {
  EXPECT_EQ(sampled({}, 0.0), 0);
  EXPECT_EQ(sampled({}, 0.09), 0);
  EXPECT_EQ(sampled({}, 0.11), 1);
  EXPECT_EQ(sampled({}, 0.49), 1);
  EXPECT_EQ(sampled({}, 0.51), 2);
  EXPECT_EQ(sampled({}, 0.69), 2);
  EXPECT_EQ(sampled({}, 0.71), 3);
  EXPECT_EQ(sampled({}, std::nextafter(1.0, 0.0)), 3);
}

TEST(Sampler, TakesTheLargestAtTemperatureZero) {
  for (const double uniform : {0.0, 0.3, 0.999}) EXPECT_EQ(sampled({.temperature = 0}, uniform), 1);
  EXPECT_EQ(sample_token(std::vector{1.0, 5.0, 5.0}, {.temperature = 0}, 0.9), 1) << "of equal ones the lowest id";
}

TEST(Sampler, SquaresProbabilitiesAtTemperatureOneHalf) {
  // 0.01 0.16 0.04 0.09, of 0.30
  const SamplingRule rule{.temperature = 0.5};
  EXPECT_EQ(sampled(rule, 0.01 / 0.3 - 0.001), 0);
  EXPECT_EQ(sampled(rule, 0.01 / 0.3 + 0.001), 1);
  EXPECT_EQ(sampled(rule, 0.17 / 0.3 - 0.001), 1);
  EXPECT_EQ(sampled(rule, 0.17 / 0.3 + 0.001), 2);
  EXPECT_EQ(sampled(rule, 0.21 / 0.3 + 0.001), 3);
}

TEST(Sampler, KeepsTheMostProbableK) {
  // ids 1 and 3: 4/7 and 3/7
  const SamplingRule rule{.top_k = 2};
  EXPECT_EQ(sampled(rule, 0.0), 1);
  EXPECT_EQ(sampled(rule, 4.0 / 7 - 0.001), 1);
  EXPECT_EQ(sampled(rule, 4.0 / 7 + 0.001), 3);
  EXPECT_EQ(sampled(rule, 0.999), 3);
  EXPECT_EQ(sampled({.top_k = 1}, 0.999), 1);
  EXPECT_EQ(sampled({.top_k = 100}, 0.05), 0) << "more than there are keeps all";
}

TEST(Sampler, BreaksTiesOfTopKByTheLowerId) {
  const std::vector<double> logits{0.0, 0.0, 0.0, 0.0};
  EXPECT_EQ(sample_token(logits, {.top_k = 2}, 0.0), 0);
  EXPECT_EQ(sample_token(logits, {.top_k = 2}, 0.999), 1);
}

TEST(Sampler, KeepsTheShortestRowThatReachesTopP) {
  // in order 0.4 (id 1), 0.3 (id 3), 0.2 (id 2), 0.1 (id 0)
  for (const double uniform : {0.0, 0.5, 0.999}) EXPECT_EQ(sampled({.top_p = 0.39}, uniform), 1);
  EXPECT_EQ(sampled({.top_p = 0.41}, 0.999), 3);
  EXPECT_EQ(sampled({.top_p = 0.69}, 0.999), 3);
  EXPECT_EQ(sampled({.top_p = 0.71}, 4.0 / 9 + 0.001), 2) << "kept: 1, 2 and 3 of 0.4, 0.2 and 0.3";
  EXPECT_EQ(sampled({.top_p = 0.71}, 0.0), 1);
  EXPECT_EQ(sampled({.top_p = 0.91}, 0.0), 0);
  EXPECT_EQ(sampled({.top_p = 1e-12}, 0.7), 1) << "never none";
}

TEST(Sampler, MeasuresTopPOnWhatTopKKept) {
  // of ids 1 and 3, the first has 4/7 = 0.571 of what is left
  EXPECT_EQ(sampled({.top_k = 2, .top_p = 0.55}, 0.999), 1);
  EXPECT_EQ(sampled({.top_k = 2, .top_p = 0.60}, 0.999), 3);
}

TEST(Sampler, NeverTakesAnImpossibleToken) {
  const std::vector<double> logits{-kInfinity, 0.0, -kInfinity, 0.0, -kInfinity};
  EXPECT_EQ(sample_token(logits, {}, 0.0), 1);
  EXPECT_EQ(sample_token(logits, {}, std::nextafter(1.0, 0.0)), 3);
  EXPECT_EQ(sample_token(logits, {.top_k = 4}, std::nextafter(1.0, 0.0)), 3);
  EXPECT_EQ(sample_token(logits, {.temperature = 0}, 0.5), 1);
}

TEST(Sampler, RefusesLogitsThatAreNoNumbers) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THROW(sample_token(std::vector{0.0, nan}, {.temperature = 0}, 0.5), NonFiniteError);
  EXPECT_THROW(sample_token(std::vector{nan, 0.0}, {}, 0.5), NonFiniteError);
  EXPECT_THROW(sample_token(std::vector{0.0, kInfinity}, {}, 0.5), NonFiniteError);
  EXPECT_THROW(sample_token(std::vector{-kInfinity, -kInfinity}, {}, 0.5), NonFiniteError);
}

TEST(Sampler, RefusesRulesWithoutMeaning) {
  EXPECT_THROW(check(SamplingRule{.temperature = -0.1}), ConfigError);
  EXPECT_THROW(check(SamplingRule{.temperature = std::numeric_limits<double>::quiet_NaN()}), ConfigError);
  EXPECT_THROW(check(SamplingRule{.top_k = -1}), ConfigError);
  EXPECT_THROW(check(SamplingRule{.top_p = 0}), ConfigError);
  EXPECT_THROW(check(SamplingRule{.top_p = 1.01}), ConfigError);
  EXPECT_NO_THROW(check(SamplingRule{.temperature = 0, .top_k = 0, .top_p = 1}));
}

TEST(Sampler, DrawsEachTokenAsOftenAsItsProbability) {
  constexpr int kDraws = 40000;
  const CounterRandom random(1, stream_of("test"));
  std::map<std::int32_t, int> counts;
  for (int i = 0; i < kDraws; ++i) ++counts[sampled({}, random.uniform(static_cast<std::uint64_t>(i)))];
  const std::vector<double> probabilities{0.1, 0.4, 0.2, 0.3};
  for (std::int32_t id = 0; id < 4; ++id) {
    const double p = probabilities[static_cast<std::size_t>(id)];
    const double deviation = std::sqrt(kDraws * p * (1 - p));
    EXPECT_NEAR(counts[id], kDraws * p, 4 * deviation) << id;  // 4 standard deviations; the seed is fixed
  }
}

}  // namespace
}  // namespace rondo

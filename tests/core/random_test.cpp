// SPDX-License-Identifier: Apache-2.0
#include "core/random.hpp"

#include <cmath>
#include <gtest/gtest.h>
#include <vector>

namespace rondo {
namespace {

using Words = std::array<std::uint32_t, 4>;

// The published answers of Philox4x32-10: file tests/kat_vectors of the Random123 distribution (Salmon et
// al.). There a counter is four 32-bit words, lowest first, which here are the index and the stream; the key
// is the seed.
TEST(CounterRandom, GivesThePublishedAnswers) {
  EXPECT_EQ(CounterRandom(0, 0).block(0), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  const std::uint64_t ones = ~std::uint64_t{0};
  EXPECT_EQ(CounterRandom(ones, ones).block(ones), (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  const CounterRandom pi(0x299f31d0a4093822, 0x0370734413198a2e);
  EXPECT_EQ(pi.block(0x85a308d3243f6a88), (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

// Sizes below and above the least that a thread takes, and one that no number of threads divides.
TEST(CounterRandom, FillsWithTheSameBitsByAnyNumberOfThreads) {
  const CounterRandom random(11, stream_of("weights"));
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{1000}, std::size_t{200'003}}) {
    std::vector<double> expected(size);
    for (std::size_t i = 0; i < size; ++i) expected[i] = 0.02 * random.normal(i);
    for (const int threads : {1, 2, 3, 16}) {
      std::vector<double> doubles(size, -1);
      fill_normal(std::span(doubles), random, 0.02, threads);
      EXPECT_EQ(doubles == expected, true) << size << " values by " << threads << " threads";
      std::vector<float> floats(size, -1);
      fill_normal(std::span(floats), random, 0.02, threads);
      EXPECT_EQ(floats == std::vector<float>(expected.begin(), expected.end()), true) << threads;
    }
  }
}

TEST(CounterRandom, DependsOnSeedStreamAndIndex) {
  const std::uint64_t value = CounterRandom(1, 2).bits(3);
  EXPECT_EQ(CounterRandom(1, 2).bits(3), value);
  EXPECT_NE(CounterRandom(2, 2).bits(3), value);
  EXPECT_NE(CounterRandom(1, 3).bits(3), value);
  EXPECT_NE(CounterRandom(1, 2).bits(4), value);
}

// The bounds are six standard errors of the mean of that many draws; the draws are fixed, so the outcome is
// too.
TEST(CounterRandom, HasTheMeanAndVarianceOfItsDistributions) {
  constexpr int kDraws = 100'000;
  const CounterRandom random(11, stream_of("moments"));
  double uniform = 0, normal = 0, normal_squared = 0;
  for (std::uint64_t index = 0; index < kDraws; ++index) {
    const double u = random.uniform(index), n = random.normal(index);
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    ASSERT_TRUE(std::isfinite(n));
    uniform += u / kDraws;
    normal += n / kDraws;
    normal_squared += n * n / kDraws;
  }
  const double standard_error = 1 / std::sqrt(static_cast<double>(kDraws));
  EXPECT_NEAR(uniform, 0.5, 6 * standard_error / std::sqrt(12.0));
  EXPECT_NEAR(normal, 0.0, 6 * standard_error);
  EXPECT_NEAR(normal_squared, 1.0, 6 * standard_error * std::sqrt(2.0));
}

TEST(StreamOf, SeparatesNames) {
  EXPECT_EQ(stream_of(""), 0xcbf29ce484222325);   // the offset basis of FNV-1a
  EXPECT_EQ(stream_of("a"), 0xaf63dc4c8601ec8c);  // its published value for "a"
  EXPECT_NE(stream_of("ab"), stream_of("ba"));
}

TEST(RandomPermutation, TakesEachIndexOnceForEverySize) {
  for (std::uint64_t size : {1U, 2U, 3U, 4U, 5U, 7U, 16U, 17U, 100U, 255U, 256U, 257U, 1000U}) {
    for (std::uint64_t seed : {0U, 1U, 99U}) {
      const RandomPermutation permutation(size, seed, 5);
      std::vector<bool> taken(size, false);
      for (std::uint64_t index = 0; index < size; ++index) {
        const std::uint64_t image = permutation(index);
        ASSERT_LT(image, size);
        ASSERT_FALSE(taken[image]) << "size " << size << ", index " << index;
        taken[image] = true;
      }
    }
  }
}

TEST(RandomPermutation, ChangesWithTheSeedAndTheStream) {
  constexpr std::uint64_t kSize = 1000;
  const RandomPermutation first(kSize, 1, 1), other_seed(kSize, 2, 1), other_stream(kSize, 1, 2);
  int equal_to_seed = 0, equal_to_stream = 0, fixed = 0;
  for (std::uint64_t index = 0; index < kSize; ++index) {
    equal_to_seed += first(index) == other_seed(index) ? 1 : 0;
    equal_to_stream += first(index) == other_stream(index) ? 1 : 0;
    fixed += first(index) == index ? 1 : 0;
  }
  // Two random permutations agree at one place on average (Poisson): more than 12 has a chance below 1e-10.
  EXPECT_LE(equal_to_seed, 12);
  EXPECT_LE(equal_to_stream, 12);
  EXPECT_LE(fixed, 12);
}

TEST(RandomPermutation, ReachesBeyondThirtyTwoBits) {
  const std::uint64_t size = (std::uint64_t{1} << 40) + 123;
  const RandomPermutation permutation(size, 3, 4);
  EXPECT_LT(permutation(size - 1), size);
  EXPECT_NE(permutation(0), permutation(1));
}

}  // namespace
}  // namespace rondo

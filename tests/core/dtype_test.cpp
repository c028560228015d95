// SPDX-License-Identifier: Apache-2.0
#include "core/dtype.hpp"

#include <cmath>
#include <gtest/gtest.h>
#include <limits>

namespace rondo {
namespace {

bf16 from_bits(std::uint16_t bits) {
  bf16 value;
  value.bits = bits;
  return value;
}

bool is_nan(std::uint16_t bits) { return (bits & 0x7f80) == 0x7f80 && (bits & 0x7f) != 0; }

TEST(Bf16, SurvivesTheWayThroughFp32ForEveryValue) {
  for (std::uint32_t bits = 0; bits <= 0xffff; ++bits) {
    const auto narrow = static_cast<std::uint16_t>(bits);
    const bf16 again(static_cast<float>(from_bits(narrow)));
    if (is_nan(narrow)) {
      ASSERT_TRUE(is_nan(again.bits)) << bits;
    } else {
      ASSERT_EQ(again.bits, narrow) << bits;
    }
  }
}

// Between each finite value and the next one: a little under the middle, the middle itself, a little over it.
TEST(Bf16, RoundsToNearestAndTiesToEvenBetweenAllNeighbours) {
  for (std::uint32_t sign : {0x0000U, 0x8000U}) {
    for (std::uint32_t magnitude = 0; magnitude < 0x7f80; ++magnitude) {
      const std::uint32_t low = sign | magnitude;
      const auto rounded = [low](std::uint32_t lower_half) {
        return std::uint32_t{bf16(std::bit_cast<float>((low << 16) | lower_half)).bits};
      };
      ASSERT_EQ(rounded(0x7fff), low);
      ASSERT_EQ(rounded(0x8000), (low & 1) == 0 ? low : low + 1);
      ASSERT_EQ(rounded(0x8001), low + 1);
    }
  }
}

TEST(Bf16, RoundsTheLargestFp32ToInfinityAndKeepsTheSignOfZero) {
  EXPECT_EQ(bf16(std::numeric_limits<float>::max()).bits, 0x7f80);
  EXPECT_EQ(bf16(-std::numeric_limits<float>::infinity()).bits, 0xff80);
  EXPECT_EQ(bf16(-0.0F).bits, 0x8000);
}

TEST(Bf16, KeepsANanWhosePayloadIsInTheLowerHalf) {
  EXPECT_TRUE(is_nan(bf16(std::bit_cast<float>(0x7f800001U)).bits));
  EXPECT_TRUE(is_nan(bf16(std::bit_cast<float>(0xffffffffU)).bits));
}

TEST(DType, AccumulatesInFp32ExceptForFp64) {
  EXPECT_EQ(accumulator_of(DType::Fp64), DType::Fp64);
  EXPECT_EQ(accumulator_of(DType::Fp32), DType::Fp32);
  EXPECT_EQ(accumulator_of(DType::Bf16), DType::Fp32);
  EXPECT_EQ(dtype_of<Accumulator<bf16>>, DType::Fp32);
  EXPECT_EQ(dtype_of<Accumulator<double>>, DType::Fp64);
}

TEST(DType, KnowsTheSizeOfEveryType) {
  EXPECT_EQ(size_of(dtype_of<double>), sizeof(double));
  EXPECT_EQ(size_of(dtype_of<float>), sizeof(float));
  EXPECT_EQ(size_of(dtype_of<bf16>), sizeof(bf16));
  EXPECT_EQ(size_of(dtype_of<std::int32_t>), sizeof(std::int32_t));
  EXPECT_EQ(size_of(dtype_of<std::int64_t>), sizeof(std::int64_t));
}

}  // namespace
}  // namespace rondo

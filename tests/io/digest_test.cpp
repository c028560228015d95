// SPDX-License-Identifier: Apache-2.0
#include "io/digest.hpp"

#include <gtest/gtest.h>
#include <set>
#include <string>
#include <vector>

namespace rondo::test {
namespace {

TEST(Digest, IsTheSameHoweverTheBytesAreCut) {
  std::string bytes;
  for (int i = 0; i < 5000; ++i) bytes += static_cast<char>(i * 31);
  for (std::size_t cut : {std::size_t{0}, std::size_t{1}, std::size_t{240}, std::size_t{4999}}) {
    StreamingDigest stream;
    stream.update(std::string_view(bytes).substr(0, cut));
    stream.update(std::string_view(bytes).substr(cut));
    EXPECT_EQ(stream.value(), digest_of(bytes));
  }
}

TEST(Digest, ChangesWithEveryBitAndWithLength) {
  std::string bytes(64, '\0');
  std::set<std::string> seen{digest_hex(bytes), digest_hex(bytes + '\0'), digest_hex(""), std::string(32, '0')};
  EXPECT_EQ(seen.size(), 4U);
  for (int bit = 0; bit < 512; ++bit) {
    std::string flipped = bytes;
    flipped[static_cast<std::size_t>(bit / 8)] ^= static_cast<char>(1 << (bit % 8));
    EXPECT_TRUE(seen.insert(digest_hex(flipped)).second) << bit;
  }
}

TEST(Digest, IsStableAcrossVersions) {
  // Stored in files: this value must never change.
  EXPECT_EQ(digest_hex("rondo"), "c1c1df2d0d555bc9ec5bf8764cfaf4de");
}

TEST(Digest, ReadsBackItsOwnText) {
  const Digest digest = digest_of("abc");
  EXPECT_EQ(Digest::from_hex(digest.hex()), digest);
  for (const char* bad : {"", "0", "00000000000000000000000000000000 ", "0000000000000000000000000000000g",
                          "+0000000000000000000000000000000", "ABCDEF00000000000000000000000000"}) {
    EXPECT_FALSE(Digest::from_hex(bad)) << bad;
  }
}

TEST(Digest, OfPartsDependsOnTheirOrder) {
  const std::vector<Digest> parts{digest_of("a"), digest_of("b")}, swapped{parts[1], parts[0]};
  EXPECT_NE(digest_of_parts(parts), digest_of_parts(swapped));
  EXPECT_NE(digest_of_parts(parts), digest_of_parts(std::vector<Digest>{parts[0]}));
}

}  // namespace
}  // namespace rondo::test

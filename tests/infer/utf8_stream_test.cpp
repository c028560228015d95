// SPDX-License-Identifier: Apache-2.0
#include "infer/utf8_stream.hpp"

#include <gtest/gtest.h>
#include <string>
#include <vector>

namespace rondo {
namespace {

// What push returns for each byte alone, then what finish returns.
std::vector<std::string> pieces_of(const std::string& text) {
  Utf8Stream stream;
  std::vector<std::string> pieces;
  for (const char byte : text) pieces.push_back(stream.push({&byte, 1}));
  pieces.push_back(stream.finish());
  return pieces;
}

using Pieces = std::vector<std::string>;

TEST(Utf8Stream, PassesAsciiAtOnce) { EXPECT_EQ(pieces_of("ab"), (Pieces{"a", "b", ""})); }

TEST(Utf8Stream, HoldsACharacterUntilItIsComplete) {
  EXPECT_EQ(pieces_of("\xC3\xA9"), (Pieces{"", "\xC3\xA9", ""}));
  EXPECT_EQ(pieces_of("\xE2\x82\xAC"), (Pieces{"", "", "\xE2\x82\xAC", ""}));
  EXPECT_EQ(pieces_of("\xF0\x9F\x8E\xB5"), (Pieces{"", "", "", "\xF0\x9F\x8E\xB5", ""}));
}

TEST(Utf8Stream, PassesBytesThatAreNoUtf8Unchanged) {
  EXPECT_EQ(pieces_of("\xFF"), (Pieces{"\xFF", ""}));
  EXPECT_EQ(pieces_of("\x80\x80"), (Pieces{"\x80", "\x80", ""}));
  EXPECT_EQ(pieces_of("\xE2\x41"), (Pieces{"", "\xE2\x41", ""})) << "the begun character is given up";
}

TEST(Utf8Stream, GivesTheIncompleteEndBack) { EXPECT_EQ(pieces_of("a\xE2\x82"), (Pieces{"a", "", "", "\xE2\x82"})); }

TEST(Utf8Stream, LosesNothingOfAnyBytes) {
  std::string all;
  for (int first = 0; first < 256; ++first) {
    for (int second = 0; second < 256; ++second) all += {static_cast<char>(first), static_cast<char>(second)};
  }
  std::string joined;
  for (const std::string& piece : pieces_of(all)) joined += piece;
  EXPECT_EQ(joined, all);
}

}  // namespace
}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
// What is shown to people is UTF-8 without control characters, whatever the bytes were.
#include "core/utf8.hpp"

#include <gtest/gtest.h>

#include "core/error.hpp"

namespace rondo {
namespace {

TEST(Utf8, TakesTheWellFormedSequencesOnly) {
  for (const char* good : {"", "plain", "\u00e9", "\u20ac", "\U0001F600", "\ud7ff", "\ue000", "\U0010ffff"}) {
    EXPECT_TRUE(is_utf8(good)) << good;
  }
  for (const char* bad : {"\x80", "\xc0\x80", "\xc1\xbf", "\xc3", "\xc3(", "\xe0\x80\x80", "\xe2\x82", "\xed\xa0\x80",
                          "\xf0\x80\x80\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "good\xfe"}) {
    EXPECT_FALSE(is_utf8(bad)) << shown_as_utf8(bad);
  }
}

TEST(Utf8, ShowsBytesThatAreNoneAsHexadecimal) {
  EXPECT_EQ(shown_as_utf8("caf\xe9.txt"), "caf\\xe9.txt");
  EXPECT_EQ(shown_as_utf8("\xe2\x82 \u20ac"), "\\xe2\\x82 \u20ac");
  EXPECT_EQ(shown_as_utf8("\x1b[31mred\r\n\tx\x7f"), "\\x1b[31mred\\x0d\n\tx\\x7f");
  EXPECT_EQ(shown_as_utf8(std::string_view("a\0b", 3)), "a\\x00b");
}

TEST(Utf8, ShowsEveryByteValueAsUtf8) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  EXPECT_FALSE(is_utf8(all));
  EXPECT_TRUE(is_utf8(shown_as_utf8(all)));
}

TEST(Utf8, HoldsForEveryPartOfAnError) {
  const DataError error("no record \"\xff\"", "caf\xe9.txt:1", "rename \x1b[2J");
  for (const std::string& part : {error.message(), error.where(), error.advice(), std::string(error.what())}) {
    EXPECT_TRUE(is_utf8(part)) << part;
    EXPECT_EQ(part.find('\x1b'), std::string::npos);
  }
  EXPECT_EQ(error.where(), "caf\\xe9.txt:1");
}

}  // namespace
}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
#include "config/value.hpp"

#include <gtest/gtest.h>
#include <limits>

namespace rondo::test {

TEST(Value, PrintsNumbersSoThatTomlReadsThemAsTheSameType) {
  EXPECT_EQ(to_toml(Value(std::int64_t{3})), "3");
  EXPECT_EQ(to_toml(Value(3.0)), "3.0");
  EXPECT_EQ(to_toml(Value(1e-5)), "1e-5");
  EXPECT_EQ(to_toml(Value(1e20)), "1e20");
  EXPECT_EQ(to_toml(Value(2.5e100)), "2.5e100");
  EXPECT_EQ(to_toml(Value(0.1)), "0.1");
  EXPECT_EQ(to_toml(Value(-0.0)), "-0.0");
  EXPECT_EQ(to_toml(Value(std::numeric_limits<double>::infinity())), "inf");
}

TEST(Value, EscapesWhatQuotesCannotHold) {
  EXPECT_EQ(to_toml(Value("a\"b\\c\n\x01")), R"("a\"b\\c\n\u0001")");
  EXPECT_EQ(to_toml(Value(WordList{"a", "b"})), R"(["a", "b"])");
}

TEST(Value, ReadsDurationsWithUnitsInFallingOrder) {
  EXPECT_EQ(parse_duration("23h40m"), 85200.0);
  EXPECT_EQ(parse_duration("1d2h3m4s"), 93784.0);
  EXPECT_EQ(parse_duration("1.5h"), 5400.0);
  EXPECT_EQ(parse_duration("90"), 90.0);
  for (const char* wrong :
       {"", "h", "1x", "-1s", "-0s", "1m1h", "1h1h", "1h30", "nan", "inf", "infs", "1e3s", " 1s", "1s "}) {
    EXPECT_EQ(parse_duration(wrong), std::nullopt) << wrong;
  }
}

TEST(Value, PrintsDurationsThatReadBack) {
  EXPECT_EQ(print_duration(85200.0), "23h40m");
  EXPECT_EQ(print_duration(0.0), "0s");
  for (const double seconds : {0.1, 1.0, 59.5, 86400.0, 1e9, 123456789.0, 1e15, 1e16, 1e300, 5e-324}) {
    EXPECT_EQ(parse_duration(print_duration(seconds)), seconds) << print_duration(seconds);
  }
}

}  // namespace rondo::test

// SPDX-License-Identifier: Apache-2.0
#include "core/error.hpp"

#include <gtest/gtest.h>

namespace rondo {
namespace {

TEST(Error, MapsEachCauseToItsExitCode) {
  EXPECT_EQ(exit_code(ErrorKind::Internal), 1);
  EXPECT_EQ(exit_code(ErrorKind::Config), 2);
  EXPECT_EQ(exit_code(ErrorKind::Data), 3);
  EXPECT_EQ(exit_code(ErrorKind::Checkpoint), 3);
  EXPECT_EQ(exit_code(ErrorKind::Device), 4);
  EXPECT_EQ(exit_code(ErrorKind::Communication), 4);
  EXPECT_EQ(exit_code(ErrorKind::NonFinite), 5);
}

TEST(Error, SaysWhatWhereAndWhatToDo) {
  const DataError error("the corpus is empty", "corpus.h5", "prepare it again");
  EXPECT_EQ(error.kind(), ErrorKind::Data);
  const std::string text = error.what();
  for (const char* part : {"the corpus is empty", "corpus.h5", "prepare it again"}) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  }
}

TEST(Ensure, ThrowsAnInternalErrorThatNamesTheCaller) {
  EXPECT_NO_THROW(ensure(true, "sums are commutative"));
  try {
    ensure(false, "sums are commutative");
    FAIL() << "a broken invariant was taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Internal);
    EXPECT_NE(error.message().find("sums are commutative"), std::string::npos);
    EXPECT_NE(error.where().find("error_test.cpp"), std::string::npos);
  }
}

}  // namespace
}  // namespace rondo

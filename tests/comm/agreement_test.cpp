// SPDX-License-Identifier: Apache-2.0
// Errors that ranks agree about: what one of them met, all throw.
#include <filesystem>
#include <gtest/gtest.h>
#include <new>

#include "comm/communicator.hpp"
#include "tests/support/mpi_world.hpp"

namespace rondo::test {
namespace {

/// The error that all ranks agree on when the last one throws this.
template <typename Exception> Error agreed_error(const Exception& thrown) {
  try {
    agree_on(world(), [&] {
      if (world().rank() == world().size() - 1) throw thrown;
    });
  } catch (const AgreedError& error) {
    return error;
  }
  return Error(ErrorKind::Internal, "no error");
}

TEST(Agreement, NamesTheRankThatFailed) {
  const Error error = agreed_error(DataError("no such file", "corpus.h5", "make one"));
  EXPECT_EQ(error.kind(), ErrorKind::Data);
  EXPECT_EQ(error.message(), "no such file (rank 1)");
  EXPECT_EQ(error.where(), "corpus.h5");
  EXPECT_EQ(error.advice(), "make one");
}

TEST(Agreement, NamesNoRankWhereAllFailAlike) {
  try {
    agree_on(world(), [] { throw ConfigError("three problems"); });
    FAIL();
  } catch (const AgreedError& error) {
    EXPECT_EQ(error.message(), "three problems");
  }
}

TEST(Agreement, TakesAFullMemoryForAnErrorOfTheDevice) {
  EXPECT_EQ(agreed_error(std::bad_alloc()).kind(), ErrorKind::Device);
}

TEST(Agreement, TakesAnErrorOfTheFileSystemForAnErrorOfTheData) {
  const auto code = std::make_error_code(std::errc::permission_denied);
  const Error error = agreed_error(std::filesystem::filesystem_error("remove", "run/exit.json", code));
  EXPECT_EQ(error.kind(), ErrorKind::Data);
  EXPECT_EQ(error.where(), "run/exit.json");
}

TEST(Agreement, ComesInTimeWhenAllAreThere) {
  const bool is_first = world().rank() == 0;
  const std::optional<Error> mine = is_first ? std::optional<Error>(DataError("the disk is full")) : std::nullopt;
  EXPECT_THROW(agree_or_leave(world(), mine), AgreedError);
  EXPECT_NO_THROW(agree_or_leave(world(), std::nullopt));
}

}  // namespace
}  // namespace rondo::test

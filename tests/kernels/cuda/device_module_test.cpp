// SPDX-License-Identifier: Apache-2.0
#include "kernels/device_module.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/tensor.hpp"

namespace rondo::test {
namespace {

TEST(DeviceModule, IsTheOneOfThisBuildOrNamedAsMissing) {
  if (RONDO_HAS_CUDA) {
    EXPECT_STREQ(device_module().build_id, build_id());
    return;
  }
  try {
    device_module();
    FAIL() << "there is no module to open";
  } catch (const DeviceError& error) {
    EXPECT_THAT(error.message(), testing::HasSubstr("librondo_cuda.so is missing"));
    EXPECT_THAT(error.advice(), testing::HasSubstr("RONDO_CUDA"));
  }
}

TEST(DeviceModule, SaysWhyThereIsNoDevice) {
  if (!RONDO_HAS_CUDA) GTEST_SKIP() << "built without a CUDA toolkit";
  std::string why_none;
  if (device_module().num_devices(why_none) == 0) {
    EXPECT_FALSE(why_none.empty());
  } else {
    EXPECT_TRUE(why_none.empty());
  }
}

TEST(DeviceModule, ThrowsErrorsThatTheProgramCatches) {
  if (!RONDO_HAS_CUDA) GTEST_SKIP() << "built without a CUDA toolkit";
  EXPECT_THROW(device_module().make_backend(cpu_device(), {}), Error);
  std::string why_none;
  const int beyond_the_last = device_module().num_devices(why_none);
  EXPECT_THROW(device_module().open_device(beyond_the_last), DeviceError);
}

}  // namespace
}  // namespace rondo::test

// SPDX-License-Identifier: Apache-2.0
// Stands for the tests of cuDNN's graphs where they cannot be built.
#include <gtest/gtest.h>

TEST(CudnnPlan, IsNotTried) { GTEST_SKIP() << "built without cuDNN's headers or those of cudnn-frontend"; }

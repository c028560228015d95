// SPDX-License-Identifier: Apache-2.0
// What a user reads after a fault of a kernel, on a mock CUDA runtime. Each case runs in a process of its own, since a
// process remembers that its context is lost.
#include <cstdio>
#include <cstdlib>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.hpp"
#include "kernels/cuda/check.hpp"
#include "kernels/cuda/device.hpp"
#include "tests/kernels/cuda/fake_cuda_runtime.hpp"

namespace rondo::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

/// One of each thing that is released at the end.
struct Things {
  cuda::CudaDevice device{0};
  std::unique_ptr<Stream> stream = device.make_stream(StreamRole::Compute);
  std::unique_ptr<Event> event = device.make_event();
  Buffer buffer{device, DType::Fp32, {4}, MemoryUse::Workspace};
};

TEST(CudaFaults, NameThemselvesAndSilenceTheReleasesAfterThem) {
  const auto run = [] {
    try {
      Things things;
      fake_cuda_runtime::answer_with(cudaErrorIllegalAddress);
      things.device.synchronize(*things.stream);
    } catch (const DeviceError& error) {
      std::fprintf(stderr, "%s\n", error.what());
      std::exit(0);
    }
  };
  EXPECT_EXIT(run(), testing::ExitedWithCode(0),
              AllOf(HasSubstr("an illegal memory access was encountered (cudaErrorIllegalAddress)"),
                    HasSubstr("given to the GPU before this call"), HasSubstr("CUDA_LAUNCH_BLOCKING=1"),
                    Not(HasSubstr("released"))));
}

TEST(CudaFaults, AreToldOnceWhenAReleaseMeetsThemFirst) {
  const auto run = [] {
    {
      Things things;
      fake_cuda_runtime::answer_with(cudaErrorIllegalAddress);
    }
    std::exit(0);
  };
  EXPECT_EXIT(run(), testing::ExitedWithCode(0),
              AllOf(testing::ContainsRegex("cudaErrorIllegalAddress[^\n]*CUDA_LAUNCH_BLOCKING=1[^\n]*\n$"),
                    Not(testing::ContainsRegex("cudaErrorIllegalAddress.*\n.*cudaErrorIllegalAddress"))));
}

TEST(CudaFaults, AreNoneWhereOnlyAReleaseFails) {
  const auto run = [] {
    {
      Things things;
      fake_cuda_runtime::answer_with(cudaErrorInvalidValue);
    }
    std::exit(0);
  };
  EXPECT_EXIT(run(), testing::ExitedWithCode(0),
              AllOf(HasSubstr("an event of CUDA could not be released"), HasSubstr("a stream of CUDA could not be"),
                    HasSubstr("memory of the GPU could not be"), Not(HasSubstr("CUDA_LAUNCH_BLOCKING"))));
}

}  // namespace
}  // namespace rondo::test

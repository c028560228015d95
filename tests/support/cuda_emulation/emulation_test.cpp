// SPDX-License-Identifier: Apache-2.0
// The emulation detects the mistakes that it claims to detect, and its warp functions behave like CUDA's.
#include "tests/support/cuda_emulation/emulation.hpp"

#include <cmath>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <vector>

#include "tests/support/cuda_emulation/cuda_runtime.h"
#include "tests/support/cuda_emulation/guarded_memory.hpp"

namespace rondo::emulation {
namespace {

template <typename... Parameters, typename... Arguments>
void start(void (*kernel)(Parameters...), unsigned blocks, unsigned threads, std::size_t shared_bytes,
           Arguments... arguments) {
  cudaLaunchConfig_t config;
  config.gridDim = dim3(blocks);
  config.blockDim = dim3(threads);
  config.dynamicSmemBytes = shared_bytes;
  ASSERT_EQ(cudaLaunchKernelEx(&config, kernel, arguments...), cudaSuccess);
}

/// The error of a kernel that runs in the given order; empty if there is none.
template <typename... Arguments> std::string error_of(Order order, Arguments... arguments) {
  set_order(order);
  try {
    start(arguments...);
  } catch (const KernelError& error) {
    return error.what();
  }
  return {};
}

__global__ void number_kernel(int* out) { out[blockIdx.x * blockDim.x + threadIdx.x] = static_cast<int>(threadIdx.x); }

TEST(CudaEmulation, RunsEveryThreadOfEveryBlock) {
  std::vector<int> out(6 * 40, -1);
  for (const Order order : {Order::Ascending, Order::Descending}) {
    set_order(order);
    start(number_kernel, 6U, 40U, 0, out.data());
    for (std::size_t i = 0; i < out.size(); ++i) EXPECT_EQ(out[i], static_cast<int>(i % 40));
  }
}

__global__ void rotate_kernel(int* out, bool with_barrier) {
  __shared__ int values[64];
  values[threadIdx.x] = static_cast<int>(threadIdx.x);
  if (with_barrier) __syncthreads();
  out[threadIdx.x] = values[(threadIdx.x + 1) % 64];
}

TEST(CudaEmulation, ShowsAMissingBarrierAsUnwrittenSharedMemory) {
  std::vector<int> out(64);
  set_order(Order::Ascending);
  start(rotate_kernel, 1U, 64U, 0, out.data(), true);
  EXPECT_EQ(out[0], 1);
  EXPECT_EQ(out[63], 0);
  start(rotate_kernel, 1U, 64U, 0, out.data(), false);
  EXPECT_EQ(out[0], -1);
}

__global__ void unwritten_kernel(float* out) {
  __shared__ float fixed;
  if (out == nullptr) fixed = 1;  // never true, but keeps the compiler from knowing the value
  if (threadIdx.x == 0) out[0] = fixed;
  if (threadIdx.x == 0) out[1] = static_cast<float*>(dynamic_shared())[3];
}

TEST(CudaEmulation, FillsSharedMemoryWithNaN) {
  std::vector<float> out(2, 0.0F);
  start(unwritten_kernel, 2U, 32U, 16, out.data());
  EXPECT_TRUE(std::isnan(out[0]));
  EXPECT_TRUE(std::isnan(out[1]));
}

__global__ void leaves_early_kernel() {
  if (threadIdx.x < 3) return;
  __syncthreads();
}
__global__ void parts_kernel() {
  if (threadIdx.x % 2 == 0) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}
__global__ void half_warp_kernel() {
  if (threadIdx.x < 16) __shfl_xor_sync(kAllLanes, 1, 1);
}
__global__ void other_function_kernel() {
  if (threadIdx.x < 16) {
    __shfl_xor_sync(kAllLanes, 1, 1);
  } else {
    __ballot_sync(kAllLanes, 1);
  }
}

TEST(CudaEmulation, RefusesDivergence) {
  for (const Order order : {Order::Ascending, Order::Descending}) {
    EXPECT_THAT(error_of(order, leaves_early_kernel, 1U, 64U, 0),
                testing::AllOf(testing::HasSubstr("3 have ended"), testing::HasSubstr("61 wait in __syncthreads at")));
    EXPECT_THAT(error_of(order, parts_kernel, 1U, 64U, 0), testing::HasSubstr("while others wait in"));
    EXPECT_THAT(error_of(order, half_warp_kernel, 1U, 64U, 0), testing::HasSubstr("16 wait in __shfl_xor_sync"));
    EXPECT_THAT(error_of(order, other_function_kernel, 1U, 64U, 0), testing::HasSubstr("while lanes of its warp wait"));
    EXPECT_EQ(error_of(order, number_kernel, 1U, 1U, 0, std::vector<int>(1).data()), "");  // and continues
  }
}

__global__ void warp_kernel(int* out) {
  const int lane = static_cast<int>(threadIdx.x);
  int* mine = out + lane * 8;
  mine[0] = __shfl_xor_sync(kAllLanes, lane, 5);
  mine[1] = __shfl_up_sync(kAllLanes, lane, 3);
  mine[2] = __shfl_down_sync(kAllLanes, lane, 3);
  mine[3] = __shfl_sync(kAllLanes, lane, 7);
  mine[4] = static_cast<int>(__ballot_sync(kAllLanes, lane % 2));
  mine[5] = __syncthreads_count(lane % 3 == 0);
  mine[6] = __shfl_down_sync(kAllLanes, lane, 3, 8);
  mine[7] = lane < 4 ? __shfl_xor_sync(0xfU, lane, 1) : 0;
}

TEST(CudaEmulation, WarpFunctionsDoWhatTheyDoOnAGpu) {
  std::vector<int> out(32 * 8);
  for (const Order order : {Order::Ascending, Order::Descending}) {
    set_order(order);
    start(warp_kernel, 1U, 32U, 0, out.data());
    for (int lane = 0; lane < 32; ++lane) {
      const int* mine = out.data() + lane * 8;
      EXPECT_EQ(mine[0], lane ^ 5);
      EXPECT_EQ(mine[1], lane < 3 ? lane : lane - 3);
      EXPECT_EQ(mine[2], lane > 28 ? lane : lane + 3);
      EXPECT_EQ(mine[3], 7);
      EXPECT_EQ(static_cast<unsigned>(mine[4]), 0xaaaaaaaaU);
      EXPECT_EQ(mine[5], 11);
      EXPECT_EQ(mine[6], lane % 8 > 4 ? lane : lane + 3);
      EXPECT_EQ(mine[7], lane < 4 ? lane ^ 1 : 0);
    }
  }
}

__global__ void copies_kernel(const int* from, int* out) {
  int* shared = static_cast<int*>(dynamic_shared());
  for (int group = 0; group < 2; ++group) {
    copy_later(shared + group, from + group, sizeof(int));
    commit_copies();
  }
  out[0] = shared[0];
  wait_for_copies(1);
  out[1] = shared[0];
  out[2] = shared[1];
  wait_for_copies(0);
  out[3] = shared[1];
}

TEST(CudaEmulation, AsynchronousCopiesArriveWhenTheyAreWaitedFor) {
  const std::vector<int> from{5, 6};
  std::vector<int> out(4);
  start(copies_kernel, 1U, 1U, 8, from.data(), out.data());
  EXPECT_THAT(out, testing::ElementsAre(-1, 5, -1, 6));
}

__global__ void touch_kernel(float* memory, int index, bool write) {
  if (write) memory[index] = 1;
  if (threadIdx.x == 3 && memory[index] == 2) memory[0] = 0;
}

TEST(CudaEmulationDeathTest, AnAddressOutsideOfEveryBufferEndsTheProgram) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  auto* memory = static_cast<float*>(allocate_guarded(16 * sizeof(float)));
  EXPECT_DEATH(start(touch_kernel, 1U, 32U, 0, memory, 16, false), "touched memory outside of every buffer");
  EXPECT_DEATH(start(touch_kernel, 1U, 32U, 0, memory, -1500, false), "touched memory outside of every buffer");
  free_guarded(memory);
  EXPECT_DEATH(
      {
        auto* small = static_cast<float*>(allocate_guarded(4));
        start(touch_kernel, 1U, 32U, 0, small, 1, true);
        free_guarded(small);
      },
      "a byte beside a buffer of 4 bytes was written");
}

TEST(CudaEmulation, RefusesWhatAGpuCannotStart) {
  cudaLaunchConfig_t config;
  config.blockDim = dim3(32);
  config.dynamicSmemBytes = 49 * 1024;
  EXPECT_NE(cudaLaunchKernelEx(&config, leaves_early_kernel), cudaSuccess);
  const auto* kernel = reinterpret_cast<const void*>(unwritten_kernel);
  EXPECT_EQ(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 49 * 1024), cudaSuccess);
  std::vector<float> out(2);
  EXPECT_EQ(cudaLaunchKernelEx(&config, unwritten_kernel, out.data()), cudaSuccess);
  EXPECT_NE(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 228 * 1024), cudaSuccess);
}

}  // namespace
}  // namespace rondo::emulation

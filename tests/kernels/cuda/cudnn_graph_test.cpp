// SPDX-License-Identifier: Apache-2.0
// Plans every graph that a ring step can ask cuDNN for, without a GPU: cuDNN's heuristics and engines are asked about an
// H100 that is described to them. Only loading the kernels and running them needs the device.
#include "kernels/cuda/cudnn_graph.hpp"

#include <cstdio>
#include <gtest/gtest.h>

#include "core/error.hpp"

namespace rondo::test {
namespace {

using cuda::AttentionPass;
using cuda::CudnnGraph;
using cuda::CudnnProblem;
using cuda::RectangleKind;

constexpr int kSmVersion = 90;
constexpr const char* kH100 = R"({"deviceName": "NVIDIA H100 80GB HBM3", "deviceVer": 900,
  "driverVer": 13000, "cudaDeviceId": 0, "totalGlobalMem": 85029158912, "maxGridSize": [2147483647, 65535, 65535],
  "maxBlockSize": [1024, 1024, 64], "regsPerBlock": 65536, "multiProcessorCount": 132, "warpSize": 32,
  "maxSharedMemoryPerBlock": 49152, "maxSharedMemoryPerBlockOptin": 232448, "reservedSharedMemoryPerBlock": 1024,
  "maxRegistersPerSM": 65536, "maxCtasPerSM": 32, "maxThreadsPerBlock": 1024, "maxThreadsPerSM": 2048, "pciDeviceId": 0,
  "isTccDriver": 0, "supportCoopLaunch": 1, "smClockRateKHz": 1980000, "memClockRateKHz": 2619000,
  "l2CacheSize": 52428800})";

class CudnnPlan : public testing::Test {
 protected:
  void SetUp() override {
    if (!cuda::why_no_cudnn().empty()) GTEST_SKIP() << cuda::why_no_cudnn();
  }
  static void SetUpTestSuite() {
    if (cuda::why_no_cudnn().empty()) std::printf("cuDNN %s, sm_90 without a device\n", cuda::cudnn_version().c_str());
  }
};

/// Plans and prints a line of the table.
CudnnGraph plan(const CudnnProblem& problem) {
  CudnnGraph graph = CudnnGraph::planned(problem, kSmVersion, kH100);
  std::printf("%-52s %10.1f MiB  %s\n", to_string(problem).c_str(),
              static_cast<double>(graph.workspace_bytes()) / (1024 * 1024), graph.engine().c_str());
  return graph;
}

struct Block {
  RectangleKind kind;
  std::int64_t num_queries, num_keys;
};

void expect_engines(AttentionPass pass, std::int64_t tokens) {
  const Block blocks[] = {{RectangleKind::Causal, tokens, tokens},
                          {RectangleKind::Full, tokens, tokens / 2},
                          {RectangleKind::Full, tokens / 2, tokens}};
  for (const Block& block : blocks) {
    for (const std::int64_t head_dim : {64, 128}) {
      for (const std::int64_t group : {1, 4, 8}) {
        const CudnnProblem problem{.pass = pass,
                                   .kind = block.kind,
                                   .num_queries = block.num_queries,
                                   .num_keys = block.num_keys,
                                   .heads = 16,
                                   .kv_heads = 16 / group,
                                   .head_dim = head_dim,
                                   .scale = 0.125};
        CudnnGraph graph = plan(problem);
        EXPECT_FALSE(graph.engine().empty());
        // Backward keeps d_q in fp32 and a row sum; nothing grows with queries times keys.
        const std::int64_t query_bytes = 4 * problem.num_queries * problem.call_heads() * (head_dim + 1);
        const std::int64_t most = pass == AttentionPass::Forward ? 1 << 20 : query_bytes + (8 << 20);
        EXPECT_LE(graph.workspace_bytes(), static_cast<std::size_t>(most)) << to_string(problem);
      }
    }
  }
}

TEST_F(CudnnPlan, HasAnEngineForEveryForwardBlockOfARing) { expect_engines(AttentionPass::Forward, 32768); }
TEST_F(CudnnPlan, HasAnEngineForEveryBackwardBlockOfARing) { expect_engines(AttentionPass::Backward, 32768); }

TEST_F(CudnnPlan, HasEnginesForUnevenAndLongBlocks) {
  for (const AttentionPass pass : {AttentionPass::Forward, AttentionPass::Backward}) {
    for (const Block& block : {Block{RectangleKind::Causal, 1023, 1023},
                               {RectangleKind::Full, 4097, 2049},
                               {RectangleKind::Causal, 131072, 131072}}) {
      const CudnnGraph graph = plan({.pass = pass,
                                     .kind = block.kind,
                                     .num_queries = block.num_queries,
                                     .num_keys = block.num_keys,
                                     .heads = 32,
                                     .kv_heads = 8,
                                     .head_dim = 128,
                                     .scale = 0.125});
      EXPECT_FALSE(graph.engine().empty());
    }
  }
}

TEST_F(CudnnPlan, IsRefusedWithTheProblemWhereCudnnHasNoEngine) {
  const CudnnProblem too_wide{.pass = AttentionPass::Backward,
                              .kind = RectangleKind::Full,
                              .num_queries = 1024,
                              .num_keys = 1024,
                              .heads = 2,
                              .kv_heads = 2,
                              .head_dim = 1024};
  try {
    CudnnGraph::planned(too_wide, kSmVersion, kH100);
    FAIL() << "no engine has heads of 1024 elements";
  } catch (const DeviceError& error) {
    EXPECT_EQ(error.where(), to_string(too_wide));
    EXPECT_FALSE(error.advice().empty());
  }
}

}  // namespace
}  // namespace rondo::test

// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/cudnn_tensors.hpp"

#include <gtest/gtest.h>
#include <set>

namespace rondo::test {
namespace {

using cuda::AttentionPass;
using cuda::CudnnLayout;
using cuda::CudnnProblem;
using cuda::CudnnTensor;
using cuda::first_element;
using cuda::layout_of;
using cuda::RectangleKind;

constexpr std::int64_t kHeads = 6, kKvHeads = 2, kDim = 8, kQueries = 5, kKeys = 7;

CudnnProblem problem(AttentionPass pass) {
  return {.pass = pass,
          .kind = RectangleKind::Full,
          .num_queries = kQueries,
          .num_keys = kKeys,
          .heads = kHeads,
          .kv_heads = kKvHeads,
          .head_dim = kDim};
}

/// Index of cuDNN's element (head, token, d) behind the tensor's first one.
std::int64_t at(const CudnnLayout& layout, std::int64_t head, std::int64_t token, std::int64_t d) {
  return head * layout.strides[1] + token * layout.strides[2] + d * layout.strides[3];
}

TEST(CudnnTensors, ReadQueriesWhereTheyLieForward) {
  const CudnnLayout q = layout_of(problem(AttentionPass::Forward), CudnnTensor::Q);
  EXPECT_EQ(q.dims, (std::array<std::int64_t, 4>{1, kHeads, kQueries, kDim}));
  for (std::int64_t head = 0; head < kHeads; ++head) {
    for (std::int64_t token = 0; token < kQueries; ++token) {
      EXPECT_EQ(first_element(3, 0, kHeads, kDim) + at(q, head, token, 2), ((3 + token) * kHeads + head) * kDim + 2);
    }
  }
}

/// Together the calls of a group see every query head once, each beside the key head that it belongs to.
TEST(CudnnTensors, PairEachQueryHeadWithItsKeyHeadBackward) {
  const CudnnProblem backward = problem(AttentionPass::Backward);
  ASSERT_EQ(backward.members(), 3);
  ASSERT_EQ(backward.call_heads(), kKvHeads);
  const CudnnLayout q = layout_of(backward, CudnnTensor::Q), k = layout_of(backward, CudnnTensor::K);
  std::set<std::int64_t> seen;
  for (std::int64_t member = 0; member < backward.members(); ++member) {
    for (std::int64_t head = 0; head < q.dims[1]; ++head) {
      const std::int64_t element = first_element(0, member, kHeads, kDim) + at(q, head, 0, 0);
      const std::int64_t query_head = element / kDim, key_head = at(k, head, 0, 0) / kDim;
      EXPECT_EQ(key_head, query_head / (kHeads / kKvHeads));  // the rule of kernels/attention.hpp
      EXPECT_TRUE(seen.insert(query_head).second);
      EXPECT_EQ(at(q, head, 4, 1) - at(q, head, 0, 0), 4 * kHeads * kDim + 1);
      EXPECT_EQ(at(k, head, 6, 1) - at(k, head, 0, 0), 6 * kKvHeads * kDim + 1);
    }
  }
  EXPECT_EQ(seen.size(), static_cast<std::size_t>(kHeads));
}

TEST(CudnnTensors, AreDenseWhereTheyArePartialResults) {
  const auto last = [](const CudnnLayout& layout) {
    return at(layout, layout.dims[1] - 1, layout.dims[2] - 1, layout.dims[3] - 1) + 1;
  };
  EXPECT_EQ(last(layout_of(problem(AttentionPass::Forward), CudnnTensor::Out)), kQueries * kHeads * kDim);
  EXPECT_EQ(last(layout_of(problem(AttentionPass::Forward), CudnnTensor::Lse)), kHeads * kQueries);
  EXPECT_EQ(last(layout_of(problem(AttentionPass::Backward), CudnnTensor::Lse)), kKvHeads * kQueries);
  EXPECT_EQ(last(layout_of(problem(AttentionPass::Backward), CudnnTensor::DQ)), kQueries * kKvHeads * kDim);
  EXPECT_EQ(last(layout_of(problem(AttentionPass::Backward), CudnnTensor::DK)), kKeys * kKvHeads * kDim);
}

TEST(CudnnTensors, AreFp32ExceptWhatTheModelHasInBf16) {
  const std::set<CudnnTensor> narrow{CudnnTensor::Q, CudnnTensor::K, CudnnTensor::V, CudnnTensor::DOut};
  for (const CudnnTensor tensor : {CudnnTensor::Q, CudnnTensor::K, CudnnTensor::V, CudnnTensor::Out, CudnnTensor::Lse,
                                   CudnnTensor::DOut, CudnnTensor::DQ, CudnnTensor::DK, CudnnTensor::DV}) {
    EXPECT_EQ(layout_of(problem(AttentionPass::Backward), tensor).dtype,
              narrow.contains(tensor) ? DType::Bf16 : DType::Fp32);
  }
}

}  // namespace
}  // namespace rondo::test

// SPDX-License-Identifier: Apache-2.0
// A dry device, backend and transport count what real ones do.
#include "plan/dry_backend.hpp"

#include <gtest/gtest.h>

#include "plan/dry_device.hpp"
#include "plan/dry_transport.hpp"

namespace rondo {
namespace {

TEST(DryDevice, CountsMemoryThatItDoesNotHave) {
  DryDevice device(DeviceKind::Cpu);
  const std::size_t terabyte = std::size_t{1} << 40;
  const Buffer first(device, terabyte, MemoryUse::Parameters);
  const Buffer second(device, DType::Fp32, {8, 3}, MemoryUse::Workspace);
  EXPECT_EQ(device.memory().peak_bytes(MemoryUse::Parameters), terabyte);
  EXPECT_EQ(device.memory().peak_bytes(MemoryUse::Workspace), 96U);
  EXPECT_GE(static_cast<const char*>(second.data()), static_cast<const char*>(first.data()) + terabyte);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(second.data()) % kMemoryAlignment, 0U);
  Stream stream(StreamRole::Compute);
  device.copy(stream, first.data(), second.data(), 96);
  device.fill_zero(stream, first.data(), terabyte);
}

class DryBackendTest : public testing::Test {
 protected:
  TensorView tensor(DType dtype, const Shape& shape) { return scratch_.take(dtype, shape); }
  const OperationCount& count(Operation operation) const {
    return backend_.counts()[static_cast<std::size_t>(operation)];
  }

  DryDevice device_{DeviceKind::Cpu};
  Arena scratch_{device_, MemoryUse::Workspace};
  Arena::Scope scope_{scratch_};
  Stream stream_{StreamRole::Compute};
  DryBackend backend_{std::make_unique<KernelWorkspace>()};
};

TEST_F(DryBackendTest, CountsAProduct) {
  const MatmulArgs args{
      .a = tensor(DType::Bf16, {3, 5}), .b = tensor(DType::Bf16, {5, 7}), .c = tensor(DType::Fp32, {3, 7})};
  backend_.matmul(stream_, args);
  EXPECT_EQ(count(Operation::Matmul).calls, 1U);
  EXPECT_EQ(count(Operation::Matmul).flops, 2 * 3 * 5 * 7);
  EXPECT_EQ(count(Operation::Matmul).bytes, 2 * (15 + 35) + 4 * 21);
}

TEST_F(DryBackendTest, RefusesArgumentsThatDoNotFit) {
  const MatmulArgs args{
      .a = tensor(DType::Fp32, {3, 5}), .b = tensor(DType::Fp32, {4, 7}), .c = tensor(DType::Fp32, {3, 7})};
  EXPECT_THROW(backend_.matmul(stream_, args), Error);
  EXPECT_EQ(count(Operation::Matmul).calls, 0U);
}

// Two query heads of four dimensions; five tokens attend to 15 keys, or to 9 in a window of two.
TEST_F(DryBackendTest, CountsThePairsThatAttend) {
  const TokenRuns runs = TokenRuns::contiguous(0, 5);
  double flops = 0;
  for (const auto& [window, pairs] : {std::pair{0, 15}, std::pair{2, 9}}) {
    const AttentionMask mask({.causal = true, .window = window}, 5);
    const TensorView keys = tensor(DType::Fp32, {5, 1, 4});
    backend_.block_attention_forward(stream_, {tensor(DType::Fp32, {5, 2, 4}),
                                               keys,
                                               keys,
                                               runs,
                                               runs,
                                               mask.view(),
                                               0.5,
                                               {tensor(DType::Fp32, {5, 2, 4}), tensor(DType::Fp32, {2, 5})},
                                               scratch_});
    flops += 4.0 * pairs * 2 * 4;
    EXPECT_EQ(count(Operation::BlockAttention).flops, flops);
  }
}

TEST(DryTransport, CountsWhatARankSends) {
  DryDevice device(DeviceKind::Cpu);
  Arena scratch(device, MemoryUse::Workspace);
  Stream stream(StreamRole::Ring);
  const Buffer data(device, DType::Fp32, {10}, MemoryUse::Gradients);
  DryTransport middle(1, 4);
  const Message to_next{2, data.view()}, from_previous{0, data.view()};
  middle.send_recv(stream, {&to_next, 1}, {&from_previous, 1}).wait(stream);
  EXPECT_EQ(middle.sent_bytes(), 40U);
  middle.broadcast(stream, data.view(), 1);
  middle.broadcast(stream, data.view(), 0);
  EXPECT_EQ(middle.broadcast_bytes(), 40U);
  EXPECT_EQ(middle.num_messages(), 2U);
  // parts of 3, 3, 3 and 1: it sends the other ranks' parts, and the sum of its own part to three ranks
  middle.all_reduce(stream, data.view(), scratch);
  EXPECT_EQ(middle.sent_bytes(), 40U + 4 * (3 + 3 + 1) + 3 * 4 * 3);
  EXPECT_EQ(device.memory().peak_bytes(MemoryUse::Workspace), 64U) << "room for a part of every rank";
  const Message to_nobody{4, data.view()};
  EXPECT_THROW(static_cast<void>(middle.send_recv(stream, {&to_nobody, 1}, {})), Error);

  DryTransport alone(0, 1);
  alone.all_reduce(stream, data.view(), scratch);
  EXPECT_EQ(alone.sent_bytes(), 0U);
}

}  // namespace
}  // namespace rondo

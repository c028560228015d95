// SPDX-License-Identifier: Apache-2.0
// Owned memory and its books: Buffer, MemoryLedger and Arena.
#include <cstring>
#include <gtest/gtest.h>
#include <utility>

#include "core/arena.hpp"

namespace rondo {
namespace {

bool is_aligned(const void* memory) { return reinterpret_cast<std::uintptr_t>(memory) % 64 == 0; }

TEST(Buffer, IsCountedWhileItLives) {
  CpuDevice device;
  {
    const Buffer first(device, 1000, MemoryUse::Parameters);
    const Buffer second(device, DType::Bf16, {3, 5}, MemoryUse::Carry);
    EXPECT_TRUE(is_aligned(first.data()));
    EXPECT_EQ(second.size_bytes(), 30U);
    EXPECT_EQ(second.view().shape, (Shape{3, 5}));
    EXPECT_EQ(device.memory().current_bytes(MemoryUse::Parameters), 1000U);
    EXPECT_EQ(device.memory().current_bytes(MemoryUse::Carry), 30U);
  }
  EXPECT_EQ(device.memory().current_bytes(MemoryUse::Parameters), 0U);
  EXPECT_EQ(device.memory().peak_bytes(MemoryUse::Parameters), 1000U);
  EXPECT_EQ(device.memory().peak_total_bytes(), 1030U);
  EXPECT_EQ(device.memory().num_allocations(), 2U);
}

TEST(Buffer, GivesItsMemoryAwayWhenMoved) {
  CpuDevice device;
  Buffer first(device, 64, MemoryUse::Workspace);
  void* const memory = first.data();
  Buffer second = std::move(first);
  EXPECT_EQ(second.data(), memory);
  Buffer third(device, 128, MemoryUse::Workspace);
  third = std::move(second);
  EXPECT_EQ(third.data(), memory);
  EXPECT_EQ(device.memory().current_bytes(MemoryUse::Workspace), 64U);
}

TEST(Buffer, OfNoBytesOwnsNothing) {
  CpuDevice device;
  const Buffer empty(device, DType::Fp32, {0, 8}, MemoryUse::Workspace);
  EXPECT_EQ(empty.data(), nullptr);
  EXPECT_EQ(device.memory().num_allocations(), 0U);
}

TEST(MemoryUse, HasANameForEach) {
  for (std::size_t use = 0; use < kNumMemoryUses; ++use) EXPECT_NE(name_of(static_cast<MemoryUse>(use)), "?");
}

// What a training step does: nested scopes, several pieces, always the same.
void step(Arena& arena) {
  Arena::Scope outer(arena);
  std::memset(arena.take(100), 1, 100);
  {
    Arena::Scope inner(arena);
    std::memset(arena.take(5000), 2, 5000);
    std::memset(arena.take(DType::Fp32, {10, 10}).data, 3, 400);
  }
  std::memset(arena.take(3000), 4, 3000);
}

TEST(Arena, GrowsInTheFirstStepAndIsFlatAfterwards) {
  CpuDevice device;
  Arena arena(device, MemoryUse::Workspace);
  step(arena);
  step(arena);
  const auto allocations = device.memory().num_allocations();
  for (int n = 0; n < 10; ++n) step(arena);
  EXPECT_EQ(device.memory().num_allocations(), allocations);
}

TEST(Arena, NeedsInTheEndWhatIsHandedOutAtOneTime) {
  CpuDevice device;
  Arena arena(device, MemoryUse::Workspace);
  const auto grow = [&] {
    Arena::Scope outer(arena);
    arena.take(640);
    for (std::size_t bytes = 64; bytes <= 6400;
         bytes += 64) {  // each is too large for the block that the one before left
      Arena::Scope inner(arena);
      arena.take(bytes);
    }
    Arena::Scope inner(arena);  // a block of 6400 bytes is free: 3200 + 3200 fit, 3200 + 3264 do not
    arena.take(3200);
    arena.take(3264);
  };
  grow();
  EXPECT_EQ(device.memory().current_bytes(MemoryUse::Workspace), 640U + 3200U + 3264U);
  EXPECT_EQ(device.memory().peak_bytes(MemoryUse::Workspace), 640U + 6400U + 3264U) << "the pieces of the first time";
  const auto allocations = device.memory().num_allocations();
  grow();
  EXPECT_EQ(device.memory().num_allocations(), allocations);
}

TEST(Arena, NeverHandsOutTheSameByteTwiceInAScope) {
  CpuDevice device;
  Arena arena(device, MemoryUse::Workspace);
  for (int round = 0; round < 3; ++round) {  // the first round allocates piece by piece, the others reuse
    Arena::Scope scope(arena);
    std::vector<unsigned char*> pieces;
    for (unsigned char n = 0; n < 20; ++n) {
      pieces.push_back(static_cast<unsigned char*>(arena.take(50U + 30U * n)));
      ASSERT_TRUE(is_aligned(pieces.back()));
      std::memset(pieces.back(), n, 50U + 30U * n);
    }
    for (unsigned char n = 0; n < 20; ++n) {
      for (std::size_t byte = 0; byte < 50U + 30U * n; ++byte) ASSERT_EQ(pieces[n][byte], n);
    }
  }
}

TEST(Arena, GivesAnInnerScopeBackToTheOuter) {
  CpuDevice device;
  Arena arena(device, MemoryUse::Workspace);
  Arena::Scope outer(arena);
  void* first = nullptr;
  {
    Arena::Scope inner(arena);
    first = arena.take(256);
  }
  EXPECT_EQ(arena.take(256), first);
}

TEST(Arena, RefusesToServeOutsideAScope) {
  CpuDevice device;
  Arena arena(device, MemoryUse::Workspace);
  EXPECT_THROW(arena.take(8), Error);
}

}  // namespace
}  // namespace rondo

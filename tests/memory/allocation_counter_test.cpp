// SPDX-License-Identifier: Apache-2.0
// The counter itself: it counts every way to allocate a large block, in any library and thread, and nothing else.
#include "tests/memory/allocation_counter.hpp"

#include <cstdlib>
#include <cstring>
#include <functional>
#include <gtest/gtest.h>
#include <malloc.h>
#include <new>
#include <string>
#include <sys/mman.h>
#include <thread>

namespace rondo {

// Outside the unnamed namespace, so that stacks have its name.
void ask_for_a_large_block() {
  void* volatile block = std::malloc(test::kLargeBlockBytes);
  std::free(block);
}

namespace {

using test::kLargeBlockBytes;

// Keeps the compiler from removing an unused allocation.
void use(void* block) { asm volatile("" : : "g"(block) : "memory"); }

std::uint64_t large_blocks_of(const std::function<void()>& body) {
  test::count_large_blocks();
  body();
  return test::num_large_blocks();
}

std::uint64_t counted(const std::function<void*()>& allocate, const std::function<void(void*)>& release) {
  return large_blocks_of([&] {
    void* block = allocate();
    use(block);
    release(block);
  });
}

TEST(AllocationCounter, SeesEveryWayToGetALargeBlock) {
  constexpr std::size_t kBytes = kLargeBlockBytes;
  const auto unmap = [](void* block) { munmap(block, kBytes); };
  EXPECT_EQ(counted([] { return std::malloc(kBytes); }, std::free), 1U);
  EXPECT_EQ(counted([] { return std::calloc(kBytes / 8, 8); }, std::free), 1U);
  EXPECT_EQ(counted([] { return std::realloc(std::malloc(8), kBytes); }, std::free), 1U);
  EXPECT_EQ(counted([] { return std::aligned_alloc(64, kBytes); }, std::free), 1U);
  EXPECT_EQ(counted([] { return memalign(64, kBytes); }, std::free), 1U);
  EXPECT_EQ(counted([] { return operator new(kBytes); }, [](void* block) { operator delete(block); }), 1U);
  constexpr std::align_val_t kLine{64};
  EXPECT_EQ(counted([] { return operator new(kBytes, kLine); }, [](void* block) { operator delete(block, kLine); }),
            1U);
  const auto by_posix = [] {
    void* block = nullptr;
    return posix_memalign(&block, 64, kBytes) == 0 ? block : nullptr;
  };
  EXPECT_EQ(counted(by_posix, std::free), 1U);
  const auto by_mmap = [] { return mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); };
  EXPECT_EQ(counted(by_mmap, unmap), 1U);
}

TEST(AllocationCounter, SeesOtherLibrariesAndThreads) {
  const std::string text(2 * kLargeBlockBytes, 'x');
  EXPECT_EQ(counted([&] { return strdup(text.c_str()); }, std::free), 1U) << "the C library";
  EXPECT_GE(large_blocks_of([&] { use((text + text).data()); }), 1U) << "the C++ library";
  EXPECT_GE(large_blocks_of([] { std::thread(ask_for_a_large_block).join(); }), 1U) << "another thread";
}

TEST(AllocationCounter, LeavesSmallBlocksAlone) {
  EXPECT_EQ(counted([] { return std::malloc(kLargeBlockBytes - 1); }, std::free), 0U);
  EXPECT_EQ(counted([] { return std::realloc(std::malloc(kLargeBlockBytes), 8); }, std::free), 1U) << "shrinking";
}

TEST(AllocationCounter, NamesWhoAsked) {
  test::count_large_blocks();
  ask_for_a_large_block();
  const std::string report = test::large_blocks_report();
  EXPECT_NE(report.find("1 x malloc(), first of 65536 bytes"), std::string::npos) << report;
  EXPECT_NE(report.find("rondo::ask_for_a_large_block()"), std::string::npos) << report;
}

}  // namespace
}  // namespace rondo

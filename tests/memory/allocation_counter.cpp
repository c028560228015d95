// SPDX-License-Identifier: Apache-2.0
#include "tests/memory/allocation_counter.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <cxxabi.h>
#include <dlfcn.h>
#include <execinfo.h>
#include <malloc.h>
#include <mutex>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

// The C library's own functions, under the names that it provides to programs that replace malloc.
extern "C" {
void* __libc_malloc(std::size_t bytes) noexcept;
void* __libc_calloc(std::size_t count, std::size_t bytes) noexcept;
void* __libc_realloc(void* block, std::size_t bytes) noexcept;
void* __libc_memalign(std::size_t alignment, std::size_t bytes) noexcept;
}

namespace rondo::test {

namespace {

constexpr std::size_t kMostFrames = 48, kMostStacks = 24;

struct Stack {
  std::array<void*, kMostFrames> frames{};
  int num_frames = 0;
  const char* function = "";
  std::size_t bytes = 0;  // of the first block
  std::uint64_t times = 0;
};

// None of these allocates, since malloc itself writes them.
std::atomic<bool> counting{false};
std::atomic<std::uint64_t> blocks{0};
std::mutex stacks_mutex;
std::array<Stack, kMostStacks> stacks;
std::size_t num_stacks = 0;
thread_local bool inside = false;

void count(const char* function, std::size_t bytes) {
  if (bytes < kLargeBlockBytes || inside || !counting.load()) return;
  inside = true;
  blocks.fetch_add(1);
  Stack stack{.frames = {}, .num_frames = 0, .function = function, .bytes = bytes, .times = 1};
  stack.num_frames = backtrace(stack.frames.data(), static_cast<int>(kMostFrames));
  {
    const std::lock_guard lock(stacks_mutex);
    const auto end = stacks.begin() + static_cast<std::ptrdiff_t>(num_stacks);
    const auto known =
        std::find_if(stacks.begin(), end, [&](const Stack& other) { return other.frames == stack.frames; });
    if (known != end) {
      ++known->times;
    } else if (num_stacks < kMostStacks) {
      stacks[num_stacks++] = stack;
    }
  }
  inside = false;
}

std::string name_of_frame(void* address) {
  Dl_info info{};
  if (dladdr(address, &info) == 0 || info.dli_fname == nullptr) return "?";
  const std::string library = info.dli_fname;
  std::string name = "?";
  if (info.dli_sname != nullptr) {
    int status = 0;
    char* demangled = abi::__cxa_demangle(info.dli_sname, nullptr, nullptr, &status);
    name = status == 0 ? demangled : info.dli_sname;
    std::free(demangled);
  }
  return name.substr(0, 120) + " in " + library.substr(library.rfind('/') + 1);
}

}  // namespace

void count_large_blocks() {
  void* warm_up = nullptr;
  backtrace(&warm_up, 1);  // the first call loads libraries, which allocates
  const std::lock_guard lock(stacks_mutex);
  num_stacks = 0;
  blocks.store(0);
  counting.store(true);
}

std::uint64_t num_large_blocks() { return blocks.load(); }

std::string large_blocks_report() {
  inside = true;
  std::string text;
  {
    const std::lock_guard lock(stacks_mutex);
    for (std::size_t i = 0; i < num_stacks; ++i) {
      const Stack& stack = stacks[i];
      text += std::to_string(stack.times) + " x " + stack.function + "(), first of " + std::to_string(stack.bytes) +
              " bytes\n";
      for (int f = 2; f < stack.num_frames; ++f)
        text += "    " + name_of_frame(stack.frames[static_cast<std::size_t>(f)]) + "\n";
    }
  }
  inside = false;
  return text;
}

}  // namespace rondo::test

// operator new, strdup and all other allocation functions of libraries end in one of these.
extern "C" {

void* malloc(std::size_t bytes) noexcept {
  rondo::test::count("malloc", bytes);
  return __libc_malloc(bytes);
}

void* calloc(std::size_t number, std::size_t bytes) noexcept {
  rondo::test::count("calloc", number * bytes);
  return __libc_calloc(number, bytes);
}

void* realloc(void* block, std::size_t bytes) noexcept {
  if (block == nullptr || bytes > malloc_usable_size(block)) rondo::test::count("realloc", bytes);
  return __libc_realloc(block, bytes);
}

void* memalign(std::size_t alignment, std::size_t bytes) noexcept {
  rondo::test::count("memalign", bytes);
  return __libc_memalign(alignment, bytes);
}

void* aligned_alloc(std::size_t alignment, std::size_t bytes) noexcept {
  rondo::test::count("aligned_alloc", bytes);
  return __libc_memalign(alignment, bytes);
}

int posix_memalign(void** block, std::size_t alignment, std::size_t bytes) noexcept {
  rondo::test::count("posix_memalign", bytes);
  void* memory = __libc_memalign(alignment, bytes);
  if (memory == nullptr) return ENOMEM;
  *block = memory;
  return 0;
}

// Only calls from programs and libraries come here; the C library's malloc calls the kernel directly. Files do not count.
void* mmap(void* address, std::size_t bytes, int protection, int flags, int file, off_t offset) noexcept {
  if ((flags & MAP_ANONYMOUS) != 0) rondo::test::count("mmap", bytes);
  return reinterpret_cast<void*>(syscall(SYS_mmap, address, bytes, protection, flags, file, offset));
}

void* mmap64(void* address, std::size_t bytes, int protection, int flags, int file, off64_t offset) noexcept {
  return mmap(address, bytes, protection, flags, file, offset);
}

}  // extern "C"

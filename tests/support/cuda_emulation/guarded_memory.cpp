// SPDX-License-Identifier: Apache-2.0
#include "tests/support/cuda_emulation/guarded_memory.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <new>
#include <sys/mman.h>

namespace rondo::emulation {

namespace {

constexpr std::size_t kPage = 4096, kAlignment = 64;
constexpr std::uint8_t kUntouched = 0xff;

struct Piece {
  std::uint8_t* pages;  // between the two guard pages
  std::size_t page_bytes;
  std::size_t bytes;
};

std::map<void*, Piece>& pieces() {
  static std::map<void*, Piece> all;
  return all;
}

std::size_t round_up(std::size_t bytes, std::size_t unit) { return (bytes + unit - 1) / unit * unit; }

bool is_untouched(const std::uint8_t* first, const std::uint8_t* last) {
  return std::all_of(first, last, [](std::uint8_t byte) { return byte == kUntouched; });
}

}  // namespace

void* allocate_guarded(std::size_t bytes) {
  const std::size_t used = round_up(std::max<std::size_t>(bytes, 1), kAlignment), page_bytes = round_up(used, kPage);
  void* mapped = mmap(nullptr, page_bytes + 2 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) throw std::bad_alloc();
  auto* pages = static_cast<std::uint8_t*>(mapped) + kPage;
  mprotect(pages, page_bytes, PROT_READ | PROT_WRITE);
  std::memset(pages, kUntouched, page_bytes);
  void* memory = pages + page_bytes - used;
  pieces()[memory] = {.pages = pages, .page_bytes = page_bytes, .bytes = bytes};
  return memory;
}

void free_guarded(void* memory) noexcept {
  const auto found = pieces().find(memory);
  if (found == pieces().end()) return;
  const Piece& piece = found->second;
  const auto* first = static_cast<const std::uint8_t*>(memory);
  if (!is_untouched(piece.pages, first) || !is_untouched(first + piece.bytes, piece.pages + piece.page_bytes)) {
    std::fprintf(stderr, "emulated device: a byte beside a buffer of %zu bytes was written\n", piece.bytes);
    std::abort();
  }
  munmap(piece.pages - kPage, piece.page_bytes + 2 * kPage);
  pieces().erase(found);
}

}  // namespace rondo::emulation

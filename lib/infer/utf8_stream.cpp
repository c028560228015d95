// SPDX-License-Identifier: Apache-2.0
#include "infer/utf8_stream.hpp"

#include <algorithm>
#include <utility>

namespace rondo {

namespace {

constexpr std::size_t kLongestCharacter = 4;

bool is_continuation(unsigned char byte) { return (byte & 0xC0U) == 0x80U; }

// Bytes of the character that this byte begins; 1 for a byte that does not begin one.
std::size_t character_bytes(unsigned char first) {
  if (first >= 0xC2 && first <= 0xDF) return 2;
  if (first >= 0xE0 && first <= 0xEF) return 3;
  if (first >= 0xF0 && first <= 0xF4) return 4;
  return 1;
}

// Bytes at the end of `text` that are the beginning of a longer character.
std::size_t incomplete_bytes(std::string_view text) {
  for (std::size_t back = 1; back <= std::min(kLongestCharacter, text.size()); ++back) {
    const auto byte = static_cast<unsigned char>(text[text.size() - back]);
    if (is_continuation(byte)) continue;
    return character_bytes(byte) > back ? back : 0;
  }
  return 0;
}

}  // namespace

std::string Utf8Stream::push(std::string_view bytes) {
  held_ += bytes;
  const std::size_t held = incomplete_bytes(held_);
  std::string ready = held_.substr(0, held_.size() - held);
  held_.erase(0, ready.size());
  return ready;
}

std::string Utf8Stream::finish() { return std::exchange(held_, {}); }

}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
#include "io/digest.hpp"

#include <charconv>
#include <cstdio>
#include <new>
#include <xxhash.h>

namespace rondo {

namespace {

constexpr XXH64_hash_t kSeed = 0x526f6e646f2d3031;  // must never change: stored digests depend on it

Digest digest_from(XXH128_hash_t hash) { return {.high = hash.high64, .low = hash.low64}; }

bool parse_half(std::string_view digits, std::uint64_t& value) {
  for (char digit : digits) {
    if (digit >= 'A' && digit <= 'F') return false;
  }
  const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
  return status == std::errc() && end == digits.data() + digits.size();
}

}  // namespace

std::string Digest::hex() const {
  char text[33];
  std::snprintf(text, sizeof(text), "%016llx%016llx", static_cast<unsigned long long>(high),
                static_cast<unsigned long long>(low));
  return text;
}

std::optional<Digest> Digest::from_hex(std::string_view text) {
  Digest digest;
  if (text.size() != 32 || !parse_half(text.substr(0, 16), digest.high) || !parse_half(text.substr(16), digest.low)) {
    return std::nullopt;
  }
  return digest;
}

Digest digest_of(const void* data, std::size_t num_bytes) {
  return digest_from(XXH3_128bits_withSeed(data, num_bytes, kSeed));
}

Digest digest_of_parts(std::span<const Digest> parts) {
  StreamingDigest whole;
  for (const Digest& part : parts) whole.update(part.hex());
  return whole.value();
}

StreamingDigest::StreamingDigest() : state_(XXH3_createState()) {
  if (!state_) throw std::bad_alloc();
  XXH3_128bits_reset_withSeed(state_.get(), kSeed);
}

void StreamingDigest::update(const void* data, std::size_t num_bytes) {
  XXH3_128bits_update(state_.get(), data, num_bytes);
}

Digest StreamingDigest::value() const { return digest_from(XXH3_128bits_digest(state_.get())); }

void StreamingDigest::Free::operator()(XXH3_state_s* state) const { XXH3_freeState(state); }

}  // namespace rondo

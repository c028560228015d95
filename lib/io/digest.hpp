// SPDX-License-Identifier: Apache-2.0
// 128-bit digests (XXH3, seeded, so that zeroed data does not look like an empty digest): they detect damage, not forgery.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

struct XXH3_state_s;

namespace rondo {

struct Digest {
  std::uint64_t high = 0;
  std::uint64_t low = 0;

  bool operator==(const Digest&) const = default;
  /// 32 lower-case hexadecimal digits.
  std::string hex() const;
  static std::optional<Digest> from_hex(std::string_view text);
};

Digest digest_of(const void* data, std::size_t num_bytes);
inline Digest digest_of(std::string_view bytes) { return digest_of(bytes.data(), bytes.size()); }
/// The digest of a whole from the digests of its parts in order, on whichever rank they were computed.
Digest digest_of_parts(std::span<const Digest> parts);

/// The digest of everything passed to `update`, in order, however it was cut into pieces; equal to digest_of() of the whole.
class StreamingDigest {
 public:
  StreamingDigest();
  void update(const void* data, std::size_t num_bytes);
  void update(std::span<const std::byte> bytes) { update(bytes.data(), bytes.size()); }
  void update(std::string_view text) { update(text.data(), text.size()); }
  Digest value() const;
  std::string hex() const { return value().hex(); }

 private:
  struct Free {
    void operator()(XXH3_state_s* state) const;
  };
  std::unique_ptr<XXH3_state_s, Free> state_;
};

inline std::string digest_hex(std::string_view text) { return digest_of(text).hex(); }

}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
// Spools bytes to disk, in the folder of the output, until it is known where they belong. The file has no name, so it does not
// outlive the process.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <vector>

namespace rondo {

class TokenSpool {
 public:
  explicit TokenSpool(const std::filesystem::path& folder);
  ~TokenSpool();
  TokenSpool(const TokenSpool&) = delete;
  TokenSpool& operator=(const TokenSpool&) = delete;

  void append(std::span<const std::byte> bytes);
  std::int64_t num_bytes() const { return written_ + static_cast<std::int64_t>(buffer_.size()); }
  /// Passes the bytes [first, first + count) to `take` in pieces.
  void read(std::int64_t first, std::int64_t count, const std::function<void(std::span<const std::byte>)>& take);

 private:
  void flush();

  std::filesystem::path folder_;
  int descriptor_ = -1;
  std::int64_t written_ = 0;
  std::vector<std::byte> buffer_;
};

}  // namespace rondo

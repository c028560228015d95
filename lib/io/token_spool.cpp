// SPDX-License-Identifier: Apache-2.0
#include "io/token_spool.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <string>
#include <unistd.h>

#include "core/error.hpp"

namespace rondo {

namespace {

constexpr std::size_t kBufferBytes = std::size_t{1} << 20;

int open_nameless(const std::filesystem::path& folder) {
  const int descriptor = ::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (descriptor >= 0) return descriptor;
  std::string name = (folder / "rondo-spool-XXXXXX").string();  // for file systems without O_TMPFILE
  const int named = ::mkstemp(name.data());
  if (named >= 0) ::unlink(name.c_str());
  return named;
}

[[noreturn]] void fail(const std::filesystem::path& folder, const char* what) {
  throw DataError(std::string("a temporary file cannot be ") + what + ": " + std::strerror(errno), folder.string(),
                  "preparing needs room for the tokens twice while they are being split");
}

}  // namespace

TokenSpool::TokenSpool(const std::filesystem::path& folder) : folder_(folder), descriptor_(open_nameless(folder)) {
  if (descriptor_ < 0) fail(folder_, "made");
  buffer_.reserve(kBufferBytes);
}

TokenSpool::~TokenSpool() { ::close(descriptor_); }

void TokenSpool::append(std::span<const std::byte> bytes) {
  if (buffer_.size() + bytes.size() > kBufferBytes) flush();
  buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
}

void TokenSpool::flush() {
  std::size_t done = 0;
  while (done < buffer_.size()) {
    const ::ssize_t count = ::write(descriptor_, buffer_.data() + done, buffer_.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) fail(folder_, "written");
    done += static_cast<std::size_t>(count);
  }
  written_ += static_cast<std::int64_t>(done);
  buffer_.clear();
}

void TokenSpool::read(std::int64_t first, std::int64_t count,
                      const std::function<void(std::span<const std::byte>)>& take) {
  ensure(first >= 0 && count >= 0 && first + count <= num_bytes(), "only what was spooled is read");
  flush();
  std::vector<std::byte> block(std::min(kBufferBytes, static_cast<std::size_t>(count)));
  while (count > 0) {
    const auto wanted = std::min(block.size(), static_cast<std::size_t>(count));
    const ::ssize_t got = ::pread(descriptor_, block.data(), wanted, first);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) fail(folder_, "read");
    take(std::span(block.data(), static_cast<std::size_t>(got)));
    first += got;
    count -= got;
  }
}

}  // namespace rondo

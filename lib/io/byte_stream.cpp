// SPDX-License-Identifier: Apache-2.0
#include "io/byte_stream.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

#include "core/error.hpp"

namespace rondo {

namespace {

/// Opens a named pipe without waiting for its writer: read() waits instead, and can be stopped.
int open_input(const std::string& path) {
  return path == "-" ? STDIN_FILENO : ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
}

class FileSource final : public ByteSource {
 public:
  FileSource(const std::string& path, StopRequest stop)
      : name_(display_name(path)), stop_(std::move(stop)), descriptor_(open_input(path)) {
    if (descriptor_ < 0) throw DataError(std::string("cannot be opened: ") + std::strerror(errno), name_);
    struct ::stat facts {};
    may_wait_ = ::fstat(descriptor_, &facts) != 0 || !S_ISREG(facts.st_mode);
  }
  ~FileSource() override {
    if (descriptor_ != STDIN_FILENO) ::close(descriptor_);
  }
  FileSource(const FileSource&) = delete;
  FileSource& operator=(const FileSource&) = delete;

  std::size_t read(char* to, std::size_t capacity) override {
    for (;;) {
      if (may_wait_) wait();
      const ::ssize_t count = ::read(descriptor_, to, capacity);
      if (count >= 0) {
        num_raw_bytes_ += count;
        return static_cast<std::size_t>(count);
      }
      if (errno != EINTR && errno != EAGAIN) {
        throw DataError("reading failed at byte " + std::to_string(num_raw_bytes_) + ": " + std::strerror(errno),
                        name_);
      }
    }
  }
  std::int64_t num_raw_bytes() const override { return num_raw_bytes_; }

 private:
  /// Waits until there is data to read or the input ends; stops when the stop descriptor becomes readable.
  void wait() const {
    std::array<::pollfd, 2> waits{{{descriptor_, POLLIN, 0}, {stop_.descriptor, POLLIN, 0}}};  // -1 is ignored
    while (::poll(waits.data(), waits.size(), -1) < 0) {
      if (errno != EINTR) return;  // read() reports the error
    }
    if (waits[1].revents != 0) stop_.stop();
  }

  std::string name_;
  StopRequest stop_;
  int descriptor_;
  bool may_wait_ = false;
  std::int64_t num_raw_bytes_ = 0;
};

/// Bytes already read, then the rest of a source.
class PrefixedSource final : public ByteSource {
 public:
  PrefixedSource(std::string prefix, std::unique_ptr<ByteSource> rest)
      : prefix_(std::move(prefix)), rest_(std::move(rest)) {}

  std::size_t read(char* to, std::size_t capacity) override {
    const std::size_t count = prefix_.copy(to, capacity, given_);
    given_ += count;
    return count + (count < capacity ? rest_->read(to + count, capacity - count) : 0);
  }
  std::int64_t num_raw_bytes() const override { return rest_->num_raw_bytes(); }

 private:
  std::string prefix_;
  std::size_t given_ = 0;
  std::unique_ptr<ByteSource> rest_;
};

}  // namespace

std::string display_name(const std::string& path) { return path == "-" ? "standard input" : path; }

std::unique_ptr<ByteSource> open_file_source(const std::string& path, StopRequest stop) {
  return std::make_unique<FileSource>(path, std::move(stop));
}

ByteStream ByteStream::open(const std::string& path, const StopRequest& stop, std::size_t block_bytes) {
  auto file = open_file_source(path, stop);
  std::string magic(2, '\0');
  std::size_t count = 0;
  while (count < magic.size()) {  // a pipe may give one byte at a time
    const std::size_t got = file->read(magic.data() + count, magic.size() - count);
    if (got == 0) break;
    count += got;
  }
  magic.resize(count);
  const bool is_gzip = magic == "\x1f\x8b";
  std::unique_ptr<ByteSource> source = std::make_unique<PrefixedSource>(std::move(magic), std::move(file));
  if (is_gzip) source = open_gzip_source(std::move(source), display_name(path));
  ByteStream stream(std::move(source), path, block_bytes);
  stream.is_gzip_ = is_gzip;
  return stream;
}

ByteStream::ByteStream(std::unique_ptr<ByteSource> source, const std::string& path, std::size_t block_bytes)
    : source_(std::move(source)), name_(display_name(path)), block_bytes_(block_bytes), memory_(block_bytes) {
  ensure(block_bytes > 0, "a block has bytes");
}

bool ByteStream::fill() {
  if (begin_ > 0) {
    std::memmove(memory_.data(), memory_.data() + begin_, end_ - begin_);
    end_ -= std::exchange(begin_, 0);
  }
  if (memory_.size() - end_ < block_bytes_) memory_.resize(std::max(2 * memory_.size(), end_ + block_bytes_));
  const std::size_t count = source_->read(memory_.data() + end_, block_bytes_);
  end_ += count;
  return count > 0;
}

std::string_view ByteStream::block() {
  if (begin_ == end_) fill();
  return {memory_.data() + begin_, end_ - begin_};
}

void ByteStream::consume(std::size_t num_bytes) {
  ensure(num_bytes <= end_ - begin_, "no more is consumed than was read");
  begin_ += num_bytes;
  position_ += static_cast<std::int64_t>(num_bytes);
}

std::string_view ByteStream::look_ahead(std::size_t num_bytes) {
  while (end_ - begin_ < num_bytes && fill()) {
  }
  return {memory_.data() + begin_, end_ - begin_};
}

}  // namespace rondo

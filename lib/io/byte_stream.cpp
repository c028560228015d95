// SPDX-License-Identifier: Apache-2.0
#include "io/byte_stream.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>
#include <utility>

#include "core/error.hpp"

namespace rondo {

namespace {

class FileSource final : public ByteSource {
 public:
  explicit FileSource(const std::string& path)
      : name_(display_name(path)),
        descriptor_(path == "-" ? STDIN_FILENO : ::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (descriptor_ < 0) throw DataError(std::string("cannot be opened: ") + std::strerror(errno), name_);
  }
  ~FileSource() override {
    if (descriptor_ != STDIN_FILENO) ::close(descriptor_);
  }
  FileSource(const FileSource&) = delete;
  FileSource& operator=(const FileSource&) = delete;

  std::size_t read(char* to, std::size_t capacity) override {
    for (;;) {
      const ::ssize_t count = ::read(descriptor_, to, capacity);
      if (count >= 0) {
        num_raw_bytes_ += count;
        return static_cast<std::size_t>(count);
      }
      if (errno != EINTR) {
        throw DataError("reading failed at byte " + std::to_string(num_raw_bytes_) + ": " + std::strerror(errno),
                        name_);
      }
    }
  }
  std::int64_t num_raw_bytes() const override { return num_raw_bytes_; }

 private:
  std::string name_;
  int descriptor_;
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

std::unique_ptr<ByteSource> open_file_source(const std::string& path) { return std::make_unique<FileSource>(path); }

ByteStream ByteStream::open(const std::string& path) {
  auto file = open_file_source(path);
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
  return ByteStream(std::move(source), path);
}

ByteStream::ByteStream(std::unique_ptr<ByteSource> source, const std::string& path)
    : source_(std::move(source)), name_(display_name(path)), memory_(2 * kBlockBytes) {}

bool ByteStream::fill() {
  if (begin_ == end_) {
    begin_ = end_ = 0;
  } else if (memory_.size() - end_ < kBlockBytes) {
    std::memmove(memory_.data(), memory_.data() + begin_, end_ - begin_);
    end_ -= std::exchange(begin_, 0);
  }
  const std::size_t count = source_->read(memory_.data() + end_, std::min(kBlockBytes, memory_.size() - end_));
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
  ensure(num_bytes <= kBlockBytes, "the look ahead is at most one block");
  while (end_ - begin_ < num_bytes && fill()) {
  }
  return {memory_.data() + begin_, end_ - begin_};
}

}  // namespace rondo

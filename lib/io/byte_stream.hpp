// SPDX-License-Identifier: Apache-2.0
// The bytes of one input, plain or gzip (any number of members), in blocks of fixed size: memory does not grow with the input.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace rondo {

/// Interrupts the wait for a silent pipe. When `descriptor` becomes readable during a wait for input, `stop` is called and
/// throws. Without a descriptor a wait ends only with the input.
struct StopRequest {
  int descriptor = -1;
  std::function<void()> stop = {};
};

/// A source of raw bytes. Errors are DataErrors that name the input.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  /// @returns the number of bytes written to `to`; 0 only at the end
  virtual std::size_t read(char* to, std::size_t capacity) = 0;
  /// Bytes read from the file or pipe so far; progress is reported in these.
  virtual std::int64_t num_raw_bytes() const = 0;
  /// A problem that could be ignored; empty if there is none. Complete at the end of the input.
  virtual std::string warning() const { return {}; }
};

/// A file, a named pipe, or standard input for "-".
std::unique_ptr<ByteSource> open_file_source(const std::string& path, StopRequest stop = {});
/// Inflates all members of `compressed`. Truncation and wrong checksums are errors that name the byte offset in the
/// compressed input. Zero bytes between and after members are padding; other bytes after the last one give a warning.
std::unique_ptr<ByteSource> open_gzip_source(std::unique_ptr<ByteSource> compressed, std::string path);

/// Reads the input block by block, with lookahead of any length.
class ByteStream {
 public:
  static constexpr std::size_t kBlockBytes = std::size_t{1} << 18;

  /// Gzip is recognised by its first two bytes, not by the name. @param block_bytes  bytes read at a time
  static ByteStream open(const std::string& path, const StopRequest& stop = {}, std::size_t block_bytes = kBlockBytes);
  ByteStream(std::unique_ptr<ByteSource> source, const std::string& path, std::size_t block_bytes = kBlockBytes);

  /// Bytes that have been read but not consumed; reads a block if there are none. Empty only at the end.
  std::string_view block();
  void consume(std::size_t num_bytes);
  /// At least `num_bytes` unless the input is shorter; held in memory until they are consumed.
  std::string_view look_ahead(std::size_t num_bytes);

  /// Offset of the next unconsumed byte in the uncompressed input.
  std::int64_t position() const { return position_; }
  std::int64_t num_raw_bytes() const { return source_->num_raw_bytes(); }
  /// "standard input" for "-".
  const std::string& name() const { return name_; }
  bool is_gzip() const { return is_gzip_; }
  /// See ByteSource::warning().
  std::string warning() const { return source_->warning(); }

 private:
  bool fill();

  std::unique_ptr<ByteSource> source_;
  std::string name_;
  std::size_t block_bytes_;
  bool is_gzip_ = false;
  std::vector<char> memory_;
  std::size_t begin_ = 0, end_ = 0;
  std::int64_t position_ = 0;
};

/// How an input is named in messages.
std::string display_name(const std::string& path);

}  // namespace rondo

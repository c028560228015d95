// SPDX-License-Identifier: Apache-2.0
// Gzip input: members one after the other, each checked by its own checksum and length.
#include <algorithm>
#include <utility>
#include <zlib.h>

#include "core/error.hpp"
#include "io/byte_stream.hpp"

namespace rondo {

namespace {

class GzipSource final : public ByteSource {
 public:
  GzipSource(std::unique_ptr<ByteSource> compressed, std::string name)
      : compressed_(std::move(compressed)), name_(std::move(name)), input_(ByteStream::kBlockBytes) {
    constexpr int kGzipOnly = 16 + MAX_WBITS;
    ensure(inflateInit2(&inflater_, kGzipOnly) == Z_OK, "zlib starts");
  }
  ~GzipSource() override { inflateEnd(&inflater_); }
  GzipSource(const GzipSource&) = delete;
  GzipSource& operator=(const GzipSource&) = delete;

  std::size_t read(char* to, std::size_t capacity) override {
    inflater_.next_out = reinterpret_cast<Bytef*>(to);
    inflater_.avail_out = static_cast<uInt>(std::min(capacity, std::size_t{1} << 30));
    const uInt offered = inflater_.avail_out;
    while (inflater_.avail_out == offered && !ended_) step();
    return offered - inflater_.avail_out;
  }
  std::int64_t num_raw_bytes() const override { return compressed_->num_raw_bytes(); }
  std::string warning() const override { return warning_; }

 private:
  void step() {
    if (!in_member_ && !begin_member()) return;
    if (!refill()) {
      fail("the gzip data end in the middle of a member", "the file is truncated: fetch or copy it again");
    }
    const int status = inflate(&inflater_, Z_NO_FLUSH);
    if (status == Z_STREAM_END) {
      in_member_ = false;
    } else if (status != Z_OK && status != Z_BUF_ERROR) {
      fail(std::string("broken gzip data: ") + (inflater_.msg != nullptr ? inflater_.msg : "no reason given"), "");
    }
  }

  /// Starts the next member; false at the end of the input.
  bool begin_member() {
    while (num_members_ > 0 && refill() && *inflater_.next_in == 0) drop(1);  // zero padding, as in gzip itself
    if (!refill()) {
      ended_ = true;
      return false;
    }
    if (num_members_ > 0 && !next_is_member()) {
      pass_over_trailing_bytes();
      return false;
    }
    inflateReset(&inflater_);
    ++num_members_;
    return in_member_ = true;
  }

  bool next_is_member() { return refill(2) && inflater_.next_in[0] == 0x1f && inflater_.next_in[1] == 0x8b; }

  /// Reads to the end, so that a program that writes into a pipe does not get SIGPIPE.
  void pass_over_trailing_bytes() {
    const std::int64_t first = offset();
    while (refill()) drop(inflater_.avail_in);
    warning_ = name_ + ": byte " + std::to_string(first) + ": " + std::to_string(offset() - first) +
               " bytes after the last gzip member are ignored, as gunzip does";
    ended_ = true;
  }

  void drop(uInt count) {
    inflater_.next_in += count;
    inflater_.avail_in -= count;
  }

  /// Makes sure that zlib has at least `least` bytes of input; false when the input ends before that.
  bool refill(uInt least = 1) {
    while (inflater_.avail_in < least) {
      std::copy_n(inflater_.next_in, inflater_.avail_in, reinterpret_cast<Bytef*>(input_.data()));
      const std::size_t count =
          compressed_->read(input_.data() + inflater_.avail_in, input_.size() - inflater_.avail_in);
      num_read_ += static_cast<std::int64_t>(count);
      inflater_.next_in = reinterpret_cast<Bytef*>(input_.data());
      inflater_.avail_in += static_cast<uInt>(count);
      if (count == 0) return false;
    }
    return true;
  }

  std::int64_t offset() const { return num_read_ - static_cast<std::int64_t>(inflater_.avail_in); }

  [[noreturn]] void fail(const std::string& what, const std::string& advice) const {
    throw DataError(what, name_ + ": byte " + std::to_string(offset()), advice);
  }

  std::unique_ptr<ByteSource> compressed_;
  std::string name_;
  std::vector<char> input_;
  z_stream inflater_{};
  std::int64_t num_read_ = 0;
  std::int64_t num_members_ = 0;
  bool in_member_ = false, ended_ = false;
  std::string warning_;
};

}  // namespace

std::unique_ptr<ByteSource> open_gzip_source(std::unique_ptr<ByteSource> compressed, std::string path) {
  return std::make_unique<GzipSource>(std::move(compressed), std::move(path));
}

}  // namespace rondo

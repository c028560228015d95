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

  /// Starts the next member; false at the end of the input. Zero bytes behind a member are padding, as gzip
  /// itself has it.
  bool begin_member() {
    while (refill()) {
      if (num_members_ > 0 && *inflater_.next_in == 0) {
        ++inflater_.next_in;
        --inflater_.avail_in;
        padded_ = true;
        continue;
      }
      if (num_members_ > 0 && (padded_ || *inflater_.next_in != 0x1f)) {
        fail("there are bytes behind the last gzip member", "");
      }
      inflateReset(&inflater_);
      ++num_members_;
      return in_member_ = true;
    }
    ended_ = true;
    return false;
  }

  /// Makes sure that there is input for zlib; false at the end.
  bool refill() {
    if (inflater_.avail_in > 0) return true;
    const std::size_t count = compressed_->read(input_.data(), input_.size());
    num_read_ += static_cast<std::int64_t>(count);
    inflater_.next_in = reinterpret_cast<Bytef*>(input_.data());
    inflater_.avail_in = static_cast<uInt>(count);
    return count > 0;
  }

  [[noreturn]] void fail(std::string what, std::string advice) const {
    const std::int64_t offset = num_read_ - static_cast<std::int64_t>(inflater_.avail_in);
    throw DataError(std::move(what), name_ + ": byte " + std::to_string(offset), std::move(advice));
  }

  std::unique_ptr<ByteSource> compressed_;
  std::string name_;
  std::vector<char> input_;
  z_stream inflater_{};
  std::int64_t num_read_ = 0;
  std::int64_t num_members_ = 0;
  bool in_member_ = false, padded_ = false, ended_ = false;
};

}  // namespace

std::unique_ptr<ByteSource> open_gzip_source(std::unique_ptr<ByteSource> compressed, std::string path) {
  return std::make_unique<GzipSource>(std::move(compressed), std::move(path));
}

}  // namespace rondo

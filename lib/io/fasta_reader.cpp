// SPDX-License-Identifier: Apache-2.0
// FASTA: a header line `>name description`, then lines of sequence letters. Lines of any length are taken in
// pieces.
#include <array>
#include <cstring>

#include "core/error.hpp"
#include "io/document_reader.hpp"
#include "io/tokenizer.hpp"

namespace rondo {

namespace {

constexpr std::size_t kMaxHeaderBytes = std::size_t{1} << 16;

constexpr std::array<bool, 256> make_sequence_table() {
  std::array<bool, 256> table{};
  for (unsigned char c = 'A'; c <= 'Z'; ++c) table[c] = table[static_cast<unsigned char>(c - 'A' + 'a')] = true;
  table['*'] = table['-'] = true;  // a stop codon, a gap
  return table;
}
constexpr auto kIsSequence = make_sequence_table();

class FastaReader {
 public:
  FastaReader(ByteStream& stream, DocumentSink& sink) : stream_(stream), sink_(sink) {}

  void read() {
    for (std::string_view block = stream_.block(); !block.empty(); block = stream_.block()) {
      const auto* newline = static_cast<const char*>(std::memchr(block.data(), '\n', block.size()));
      const std::size_t length = newline == nullptr ? block.size() : static_cast<std::size_t>(newline - block.data());
      take(block.substr(0, length));
      column_ += length;
      if (newline != nullptr) end_line();
      stream_.consume(length + (newline != nullptr ? 1 : 0));
    }
    end_line();
    if (!in_record_) throw DataError("there is no FASTA record, which would begin with '>'", stream_.name());
    end_record();
  }

 private:
  /// A line, or a part of it when it does not fit in a block.
  void take(std::string_view piece) {
    if (piece.empty()) return;
    if (column_ == 0 && piece.front() == '>') {
      in_header_ = true;
      header_.clear();
    }
    if (in_header_) {
      if (header_.size() + piece.size() > kMaxHeaderBytes) {
        column_ = 0;
        fail(0, "a header line of more than 64 KiB");
      }
      header_ += piece;
      return;
    }
    if (ended_by_return_) fail(0, "a carriage return inside a line");
    if (piece.back() == '\r') {  // of a line end \r\n; anywhere else the next byte tells
      ended_by_return_ = true;
      piece.remove_suffix(1);
    }
    if (piece.empty()) return;
    if (!in_record_) fail(0, "sequence before the first header line, which begins with '>'");
    check(piece);
    try {
      sink_.text(piece);
    } catch (const InvalidInput& invalid) {
      fail(invalid.byte_in_piece, invalid.message);
    }
  }

  void end_line() {
    if (in_header_) begin_record();
    in_header_ = ended_by_return_ = false;
    column_ = 0;
    ++line_;
  }

  void begin_record() {
    if (in_record_) end_record();
    const std::size_t end = header_.find_first_of(" \t\r");
    std::string name = header_.substr(1, end == std::string::npos ? end : end - 1);
    ++num_records_;
    if (name.empty()) name = "record " + std::to_string(num_records_);
    sink_.begin(name);
    in_record_ = true;
  }

  void end_record() {
    try {
      sink_.end();
    } catch (const InvalidInput& invalid) {
      fail(0, invalid.message);
    }
  }

  void check(std::string_view piece) const {
    bool is_sequence = true;
    for (char c : piece) is_sequence &= kIsSequence[static_cast<unsigned char>(c)];
    if (is_sequence) return;
    std::size_t wrong = 0;
    while (kIsSequence[static_cast<unsigned char>(piece[wrong])]) ++wrong;
    const bool is_space = piece[wrong] == ' ' || piece[wrong] == '\t';
    fail(wrong, is_space ? "white space inside a line of sequence" : "a byte that is not a sequence letter");
  }

  [[noreturn]] void fail(std::size_t byte_in_piece, const std::string& message) const {
    throw DataError(message,
                    stream_.name() + ":" + std::to_string(line_) + ":" + std::to_string(column_ + byte_in_piece + 1));
  }

  ByteStream& stream_;
  DocumentSink& sink_;
  std::string header_;
  std::int64_t line_ = 1, num_records_ = 0;
  std::size_t column_ = 0;  // bytes of this line that are done
  bool in_header_ = false, in_record_ = false, ended_by_return_ = false;
};

}  // namespace

void read_fasta(ByteStream& stream, DocumentSink& sink) { FastaReader(stream, sink).read(); }

}  // namespace rondo

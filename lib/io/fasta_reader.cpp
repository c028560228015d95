// SPDX-License-Identifier: Apache-2.0
// FASTA: a header line `>name description`, then lines of sequence letters. Lines of any length are taken in
// pieces. Blanks in sequences mean nothing, lines that begin with ';' are comments, and a line ends with \n, \r\n or \r.
#include <algorithm>
#include <array>
#include <optional>

#include "core/error.hpp"
#include "io/document_reader.hpp"
#include "io/tokenizer.hpp"

namespace rondo {

namespace {

constexpr std::size_t kMaxHeaderNameBytes = std::size_t{1} << 16;

enum class Byte : std::uint8_t { Other, Letter, Blank, Newline, Return, CtrlZ };

constexpr std::array<Byte, 256> make_byte_table() {
  std::array<Byte, 256> table{};
  for (unsigned char c = 'A'; c <= 'Z'; ++c) table[c] = table[static_cast<unsigned char>(c - 'A' + 'a')] = Byte::Letter;
  table['*'] = table['-'] = Byte::Letter;  // a stop codon, a gap
  table[' '] = table['\t'] = Byte::Blank;
  table['\n'] = Byte::Newline;
  table['\r'] = Byte::Return;
  table[0x1a] = Byte::CtrlZ;
  return table;
}
constexpr auto kByteTable = make_byte_table();

Byte kind_of(char c) { return kByteTable[static_cast<unsigned char>(c)]; }

class FastaReader {
 public:
  FastaReader(ByteStream& stream, DocumentSink& sink) : stream_(stream), sink_(sink) {}

  void read() {
    for (std::string_view block = stream_.block(); !block.empty(); block = stream_.block()) {
      for (std::string_view rest = block; !rest.empty();) {
        const std::size_t count = take(rest);
        column_ = line_kind_ == Line::Empty ? 0 : column_ + count;
        rest.remove_prefix(count);
      }
      stream_.consume(block.size());
    }
    if (line_kind_ == Line::Header) begin_record();
    if (!in_record_) throw DataError("there is no FASTA record, which would begin with '>'", stream_.name());
    end_record();
  }

 private:
  enum class Line { Empty, Header, Comment, Sequence };  // Empty: nothing of it was met

  /// Takes some bytes of one line, or what ends it. @returns how many
  std::size_t take(std::string_view rest) {
    const Byte kind = kind_of(rest.front());
    if (kind == Byte::Newline || kind == Byte::Return) return end_line(kind);
    after_return_ = false;
    if (line_kind_ == Line::Empty) begin_line(rest.front());
    if (line_kind_ != Line::Sequence) return take_words(rest);
    if (kind == Byte::Letter) return take_letters(rest);
    if (kind == Byte::Other) fail("a byte that is not a sequence letter");
    if (kind == Byte::CtrlZ && !ctrl_z_) ctrl_z_ = place(0);
    return 1;
  }

  void begin_line(char first) {
    line_kind_ = first == '>' ? Line::Header : first == ';' ? Line::Comment : Line::Sequence;
    if (line_kind_ == Line::Sequence) return;
    expect_no_ctrl_z();
    name_.clear();
    name_ends_ = line_kind_ == Line::Comment;
  }

  /// Of a header or comment. The name ends at the first blank or control character; databases join headers by Ctrl-A.
  std::size_t take_words(std::string_view rest) {
    const std::size_t end = std::min(rest.find_first_of("\r\n"), rest.size());
    for (std::size_t i = 0; i < end && !name_ends_; ++i) {
      const auto byte = static_cast<unsigned char>(rest[i]);
      name_ends_ = byte <= ' ' || byte == 0x7f;
      if (!name_ends_) name_ += rest[i];
      if (name_.size() > kMaxHeaderNameBytes) fail("a name of more than 64 KiB in a header line");
    }
    return end;
  }

  std::size_t take_letters(std::string_view rest) {
    expect_no_ctrl_z();
    if (!in_record_) fail("sequence before the first header line, which begins with '>'");
    std::size_t count = 1;
    while (count < rest.size() && kind_of(rest[count]) == Byte::Letter) ++count;
    try {
      sink_.text(rest.substr(0, count));
    } catch (const InvalidInput& invalid) {
      fail(invalid.message, invalid.byte_in_piece);
    }
    return count;
  }

  std::size_t end_line(Byte kind) {
    const bool is_rest_of_line_end = kind == Byte::Newline && after_return_;  // \r\n is one
    after_return_ = kind == Byte::Return;
    if (is_rest_of_line_end) return 1;
    if (line_kind_ == Line::Header) begin_record();
    line_kind_ = Line::Empty;
    ++line_;
    return 1;
  }

  /// Ctrl-Z ended files of CP/M and DOS: blanks may follow it, nothing else.
  void expect_no_ctrl_z() const {
    if (ctrl_z_) throw DataError("a byte that is not a sequence letter: a Ctrl-Z, and more after it", *ctrl_z_);
  }

  void begin_record() {
    if (in_record_) end_record();
    std::string name = name_.substr(1);
    ++num_records_;
    if (name.empty()) name = "record " + std::to_string(num_records_);
    sink_.begin(name);
    in_record_ = true;
  }

  void end_record() {
    try {
      sink_.end();
    } catch (const InvalidInput& invalid) {
      fail(invalid.message);
    }
  }

  std::string place(std::size_t byte_in_piece) const {
    return stream_.name() + ":" + std::to_string(line_) + ":" + std::to_string(column_ + byte_in_piece + 1);
  }
  [[noreturn]] void fail(const std::string& message, std::size_t byte_in_piece = 0) const {
    throw DataError(message, place(byte_in_piece));
  }

  ByteStream& stream_;
  DocumentSink& sink_;
  Line line_kind_ = Line::Empty;
  std::string name_;        // of the header, with its '>'
  bool name_ends_ = false;  // the rest of the header is its description
  std::int64_t line_ = 1, num_records_ = 0;
  std::size_t column_ = 0;  // bytes of this line that are done
  bool in_record_ = false, after_return_ = false;
  std::optional<std::string> ctrl_z_;  // where it was
};

}  // namespace

void read_fasta(ByteStream& stream, DocumentSink& sink) { FastaReader(stream, sink).read(); }

}  // namespace rondo

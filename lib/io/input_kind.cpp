// SPDX-License-Identifier: Apache-2.0
#include "io/input_kind.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <filesystem>
#include <optional>

#include "core/error.hpp"
#include "io/file_magic.hpp"

namespace rondo {

namespace {

constexpr std::size_t kMostLineBytes = std::size_t{1} << 30;  // as the reader of JSON lines has it
constexpr std::size_t kSequenceSample = 4096;                 // of the first line of sequence
constexpr std::size_t kNulSample = 8000;                      // as git and grep have it

constexpr int kCtrlZ = 0x1a;  // ended files of CP/M and DOS

bool is_blank(int c) { return c == ' ' || c == '\t' || c == '\r'; }

/// The bytes of a stream one after the other, consuming none.
class Peek {
 public:
  static constexpr int kEnd = -1;
  Peek(ByteStream& stream, std::size_t first) : stream_(stream), at_(first) {}

  int next() {
    const int c = peek();
    if (c != kEnd) ++at_;
    return c;
  }
  int next_not_blank() {
    while (is_blank(peek())) ++at_;
    return next();
  }
  void skip_to_end_of(const std::string_view line_ends) {
    for (int c = next(); c != kEnd && line_ends.find(static_cast<char>(c)) == std::string_view::npos;) c = next();
  }
  int peek() {
    if (at_ >= view_.size()) {
      if (at_ > kMostLineBytes) {
        throw DataError("its first line is longer than 1 GiB and may be text, JSON or FASTA", stream_.name(),
                        "say what it is, as in --format text");
      }
      view_ = stream_.look_ahead(at_ + 1);
      if (at_ >= view_.size()) return kEnd;
    }
    return static_cast<unsigned char>(view_[at_]);
  }

 private:
  ByteStream& stream_;
  std::string_view view_;
  std::size_t at_;
};

// --- JSON lines: strict about the outermost object's keys, which decide, and only roughly about values, which do not.

enum class JsonLine { Other, Object, ObjectWithText };

/// What follows an opening quotation mark, up to the closing one; `text` gets the first few bytes.
bool skip_string(Peek& bytes, std::string& text) {
  text.clear();
  for (int c = bytes.next(); c != '"'; c = bytes.next()) {
    if (c == Peek::kEnd || c < 0x20) return false;
    if (text.size() < 8) text += static_cast<char>(c);
    if (c == '\\' && bytes.next() == Peek::kEnd) return false;
  }
  return true;
}

/// @returns the ',' or '}' of the outermost object that ends the value; anything else when it is none
int skip_value(Peek& bytes) {
  constexpr std::string_view kBareWords = "0123456789+-.eEtrufalsnNIiy:[]{}, \t\r";  // with NaN and Infinity
  std::string ignored;
  for (int depth = 0;;) {
    const int c = bytes.next();
    if (c == '"') {
      if (!skip_string(bytes, ignored)) return Peek::kEnd;
      continue;
    }
    if (c == Peek::kEnd || kBareWords.find(static_cast<char>(c)) == std::string_view::npos) return Peek::kEnd;
    if (depth == 0 && (c == ',' || c == '}')) return c;
    if (c == '{' || c == '[') ++depth;
    if ((c == '}' || c == ']') && --depth < 0) return Peek::kEnd;
  }
}

bool line_ends(Peek& bytes) {
  const int c = bytes.next_not_blank();
  return c == '\n' || c == Peek::kEnd;
}

/// The next line with something in it. That it has the member is known before its end.
JsonLine look_at_json_line(Peek& bytes) {
  int c = bytes.next_not_blank();
  while (c == '\n') c = bytes.next_not_blank();
  if (c != '{') return JsonLine::Other;
  for (std::string key;;) {
    c = bytes.next_not_blank();
    if (c == '}') return line_ends(bytes) ? JsonLine::Object : JsonLine::Other;
    if (c != '"' || !skip_string(bytes, key) || bytes.next_not_blank() != ':') return JsonLine::Other;
    if (key == "text") return JsonLine::ObjectWithText;
    c = skip_value(bytes);
    if (c == '}') return line_ends(bytes) ? JsonLine::Object : JsonLine::Other;
    if (c != ',') return JsonLine::Other;
  }
}

std::optional<std::string> why_json_lines(Peek bytes) {
  const JsonLine first = look_at_json_line(bytes);
  if (first == JsonLine::ObjectWithText) return "the first line is a JSON object with the member text";
  if (first == JsonLine::Object && look_at_json_line(bytes) != JsonLine::Other) {
    return "the first two lines are JSON objects";
  }
  return std::nullopt;
}

// --- FASTA

bool is_sequence_letter(int c) { return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '*' || c == '-'; }
bool is_nucleotide(int c) {
  constexpr std::string_view kCodes = "ACGTUNRYSWKMBDHVacgtunryswkmbdhv*-";
  return kCodes.find(static_cast<char>(c)) != std::string_view::npos;
}

/// Passes over comments, headers and lines of blanks. @returns the number of headers; then comes a line of something else
int skip_fasta_headers(Peek& bytes) {
  for (int num_headers = 0;;) {
    bool has_blank = false;
    for (; bytes.peek() == ' ' || bytes.peek() == '\t'; bytes.next()) has_blank = true;
    const int c = bytes.peek();
    const bool is_header_or_comment = c == '>' || c == ';';
    if (is_header_or_comment && has_blank) return 0;  // these stand in the first column
    if (is_header_or_comment) {
      num_headers += c == '>' ? 1 : 0;
      bytes.skip_to_end_of("\r\n");
    } else if (c == '\n' || c == '\r') {
      bytes.next();
    } else {
      return num_headers;
    }
  }
}

std::optional<std::string> why_fasta(Peek bytes) {
  const int num_headers = skip_fasta_headers(bytes);
  if (num_headers == 0) return std::nullopt;
  bool only_letters = true, only_nucleotides = true, has_blank = false, ends_with_blank = false;
  std::size_t count = 0;
  for (; count < kSequenceSample; ++count) {
    const int c = bytes.next();
    if (c == Peek::kEnd || c == '\n' || c == '\r' || c == kCtrlZ) break;
    if (!is_blank(c)) {
      has_blank |= ends_with_blank;
      only_letters &= is_sequence_letter(c);
      only_nucleotides &= is_nucleotide(c);
    }
    ends_with_blank = is_blank(c);
  }
  // Prose after a line of quotation is letters and blanks, too, but hardly of these few letters.
  const bool is_sequence = num_headers == 1 && !has_blank ? only_letters : only_nucleotides;
  if (count == 0 || !is_sequence) return std::nullopt;
  return "the first line begins with '>', and sequence letters follow";
}

// --- Names

std::string lower_extension(const std::string& name) {
  std::string lower = name;
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  std::filesystem::path path(lower);
  if (path.extension() == ".gz") path = path.stem();
  return path.extension().string();
}

std::optional<Recognition> recognise_name(const std::string& name) {
  constexpr std::array<std::string_view, 2> kJsonLines{".jsonl", ".ndjson"};
  constexpr std::array<std::string_view, 9> kFasta{".fa",  ".fasta", ".fna", ".ffn", ".faa",
                                                   ".fas", ".frn",   ".fsa", ".mpfa"};
  const std::string extension = lower_extension(name);
  const std::string why = "its name ends in " + extension;
  const auto is_in = [&](const auto& list) { return std::find(list.begin(), list.end(), extension) != list.end(); };
  if (is_in(kJsonLines)) return Recognition{.kind = InputKind::JsonLines, .why = why};
  if (is_in(kFasta)) return Recognition{.kind = InputKind::Fasta, .why = why};
  return std::nullopt;
}

std::string doubt_about(Peek bytes) {
  const auto next = [&] {
    int c = bytes.next_not_blank();
    while (c == '\n') c = bytes.next_not_blank();
    return c;
  };
  if (next() != '[' || next() != '{') return {};
  return "begins as one JSON array of objects and is read as one text; `jq -c '.[]'` makes JSON lines of it";
}

}  // namespace

std::size_t byte_order_mark_bytes(ByteStream& stream) {
  return stream.look_ahead(3).starts_with("\xef\xbb\xbf") ? 3 : 0;
}

Recognition recognise_input(ByteStream& stream) {
  if (const FileMagic* magic = find_file_magic(stream.look_ahead(kMagicBytes))) {
    const bool is_pipe = stream.name() == display_name("-");
    std::string advice = "turn it into text first: " + std::string(magic->command) + " " + stream.name();
    if (is_pipe) advice = "turn it into text before the pipe, with " + std::string(magic->command);
    return {
        .kind = InputKind::Foreign, .why = std::string(magic->what), .advice = magic->command.empty() ? "" : advice};
  }
  if (auto named = recognise_name(stream.name())) return *named;
  const Peek bytes(stream, byte_order_mark_bytes(stream));
  if (auto why = why_json_lines(bytes)) return {.kind = InputKind::JsonLines, .why = *why};
  if (auto why = why_fasta(bytes)) return {.kind = InputKind::Fasta, .why = *why};
  const std::string_view sample = stream.look_ahead(kNulSample);
  if (sample.empty()) return {.why = "it is empty"};
  if (sample.substr(0, kNulSample).find('\0') != std::string_view::npos) {
    return {.kind = InputKind::Binary, .why = "there are NUL bytes among its first 8000, as in no text"};
  }
  return {.why = "neither JSON lines nor FASTA", .doubt = doubt_about(bytes)};
}

}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
// JSON lines: one object per line, whose member `text` is the document. Only one line is held in memory.
#include <array>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/error.hpp"
#include "io/document_reader.hpp"
#include "io/tokenizer.hpp"

namespace rondo {

namespace {

constexpr std::size_t kMaxLineBytes = std::size_t{1} << 30;
constexpr std::size_t kMaxProblemBytes = 200;
constexpr std::string_view kBlanks = " \t\r";

/// Picks the member `text` of the outermost object out of the parser's events: a string, or an array of integers, which becomes
/// the same integers separated by spaces. Everything else is parsed and dropped.
class TextPicker final : public nlohmann::json_sax<nlohmann::json> {
 public:
  std::string text, problem;
  std::size_t error_column = 0;
  bool found = false, is_list = false;

  void reset() {
    text.clear();
    problem.clear();
    error_column = 0;
    depth_ = 0;
    found = is_list = in_text_ = in_list_ = false;
  }

  bool null() override { return scalar("null"); }
  bool boolean(bool) override { return scalar("a truth value"); }
  bool number_float(double, const std::string&) override { return scalar("a fraction"); }
  bool number_integer(std::int64_t value) override {
    return in_list_ ? add(std::to_string(value)) : scalar("a number");
  }
  bool number_unsigned(std::uint64_t value) override {
    return in_list_ ? add(std::to_string(value)) : scalar("a number");
  }
  bool binary(nlohmann::json::binary_t&) override { return scalar("binary"); }
  bool string(std::string& value) override {
    if (in_list_) return refuse("a list with a string in it");
    if (depth_ == 0) return refuse_line();
    if (std::exchange(in_text_, false)) text = std::move(value);
    return true;
  }
  bool key(std::string& name) override {
    if (depth_ != 1 || name != "text") return true;
    if (std::exchange(found, true)) {
      problem = "the member \"text\" appears twice";
      return false;
    }
    return in_text_ = true;
  }
  bool start_object(std::size_t) override {
    if (in_text_ || in_list_) return refuse("an object");
    ++depth_;
    return true;
  }
  bool end_object() override {
    --depth_;
    return true;
  }
  bool start_array(std::size_t) override {
    if (depth_ == 0) return refuse_line();
    if (in_list_) return refuse("a list of lists");
    in_list_ = std::exchange(in_text_, false);
    is_list |= in_list_;
    ++depth_;
    return true;
  }
  bool end_array() override {
    in_list_ = false;
    --depth_;
    return true;
  }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception& failure) override {
    error_column = position;
    problem = failure.what();
    if (const auto colon = problem.find(": ", problem.find("column")); colon != std::string::npos) {
      problem.erase(0, colon + 2);  // the parser's line and column count from this line
    }
    if (problem.size() > kMaxProblemBytes) problem = problem.substr(0, kMaxProblemBytes) + "...";  // it quotes the text
    problem = "broken JSON: " + problem;
    return false;
  }

 private:
  bool scalar(const char* what) {
    if (depth_ == 0) return refuse_line();
    return in_text_ || in_list_ ? refuse(what) : true;
  }
  bool add(const std::string& number) {
    text += number;
    text += ' ';
    return true;
  }
  bool refuse(const std::string& what) {
    problem = "the member \"text\" must be a string or a list of integers, not " + what;
    return false;
  }
  bool refuse_line() {
    problem = "the line is not a JSON object";
    return false;
  }

  int depth_ = 0;
  bool in_text_ = false, in_list_ = false;
};

/// Python and others write NaN, Infinity and -Infinity, which are not JSON. Replaces them outside strings by fractions of the
/// same length, which are not valid in the member "text" either.
std::string without_non_finite(std::string line) {
  constexpr std::array<std::string_view, 2> kWords{"NaN", "Infinity"};
  bool in_string = false;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '"') in_string = !in_string;
    if (in_string && line[i] == '\\') ++i;
    if (in_string) continue;
    for (const std::string_view word : kWords) {
      if (line.compare(i, word.size(), word) == 0)
        line.replace(i, word.size(), "0.5" + std::string(word.size() - 3, ' '));
    }
  }
  return line;
}

class JsonLinesReader {
 public:
  JsonLinesReader(ByteStream& stream, DocumentSink& sink) : stream_(stream), sink_(sink) {}

  void read() {
    for (std::string_view block = stream_.block(); !block.empty(); block = stream_.block()) {
      const auto* newline = static_cast<const char*>(std::memchr(block.data(), '\n', block.size()));
      const std::size_t length = newline == nullptr ? block.size() : static_cast<std::size_t>(newline - block.data());
      if (line_.size() + length > kMaxLineBytes) fail("a line of more than 1 GiB");
      line_.append(block.substr(0, length));
      stream_.consume(length + (newline != nullptr ? 1 : 0));
      if (newline != nullptr) end_line();
    }
    end_line(/*is_last=*/true);
  }

 private:
  void end_line(bool is_last = false) {
    constexpr std::string_view kPadding =
        " \t\r\x1a";  // Ctrl-Z ended files of CP/M and DOS, and filled their last block
    if (is_last && line_.find_first_not_of(kPadding) == std::string::npos) line_.clear();
    if (line_.find_first_not_of(kBlanks) != std::string::npos) {
      parse();
      if (!picker_.found) fail("the member \"text\" is missing", 0, "--format text takes each input as one text");
      if (picker_.is_list && !sink_.takes_ids()) {
        fail("the member \"text\" is a list of integers, which only the tokenizer ids takes");
      }
      send();
    }
    line_.clear();
    ++line_number_;
  }

  void parse() {
    picker_.reset();
    if (nlohmann::json::sax_parse(line_, &picker_)) return;
    if (const std::string finite = without_non_finite(line_); finite != line_) {
      picker_.reset();
      if (nlohmann::json::sax_parse(finite, &picker_)) return;
    }
    fail(picker_.problem, picker_.error_column);
  }

  void send() {
    try {
      sink_.begin(stream_.name() + ":" + std::to_string(line_number_));
      sink_.text(picker_.text);
      sink_.end();
    } catch (const InvalidInput& invalid) {
      fail(invalid.message + " (byte " + std::to_string(invalid.byte_in_piece) + " of the text)");
    }
  }

  [[noreturn]] void fail(const std::string& message, std::size_t column = 0, const std::string& advice = {}) const {
    const std::string place = std::to_string(line_number_) + (column > 0 ? ":" + std::to_string(column) : "");
    throw DataError(message, stream_.name() + ":" + place, advice);
  }

  ByteStream& stream_;
  DocumentSink& sink_;
  TextPicker picker_;
  std::string line_;
  std::int64_t line_number_ = 1;
};

}  // namespace

void read_json_lines(ByteStream& stream, DocumentSink& sink) { JsonLinesReader(stream, sink).read(); }

}  // namespace rondo

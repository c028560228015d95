// SPDX-License-Identifier: Apache-2.0
#include "io/tokenizers.hpp"

#include <array>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/error.hpp"

namespace rondo {

namespace {

bool is_space(unsigned char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/// A byte as shown in messages: 'x' or 0xNN.
std::string shown(unsigned char byte) {
  if (byte > 0x20 && byte < 0x7f) return std::string("'") + static_cast<char>(byte) + "'";
  constexpr std::string_view kDigits = "0123456789abcdef";
  return std::string("0x") + kDigits[byte >> 4] + kDigits[byte & 15];
}

nlohmann::ordered_json json_of(std::string_view kind) {
  return {{"format", "rondo tokenizer"}, {"version", 1}, {"kind", kind}};
}

class ByteEncoder final : public TokenEncoder {
 public:
  void encode(std::string_view piece, std::vector<std::uint32_t>& tokens) override {
    const std::size_t first = tokens.size();
    tokens.resize(first + piece.size());
    for (std::size_t i = 0; i < piece.size(); ++i) tokens[first + i] = static_cast<unsigned char>(piece[i]);
  }
  void finish(std::vector<std::uint32_t>&) override {}
};

// The class of a byte of DNA input: an id 0 to 4, or one of these.
constexpr std::uint8_t kAmbiguous = 5, kSkip = 6, kInvalid = 7;

constexpr std::array<std::uint8_t, 256> make_dna_table() {
  std::array<std::uint8_t, 256> table{};
  table.fill(kInvalid);
  constexpr std::string_view kLetters = "ACGTN", kOtherCodes = "RYSWKMBDHV";
  const auto put = [&table](char upper, std::uint8_t what) {
    table[static_cast<unsigned char>(upper)] = what;
    table[static_cast<unsigned char>(upper - 'A' + 'a')] = what;
  };
  for (std::size_t id = 0; id < kLetters.size(); ++id) put(kLetters[id], static_cast<std::uint8_t>(id));
  for (char code : kOtherCodes) put(code, kAmbiguous);
  put('U', static_cast<std::uint8_t>(kLetters.find('T')));  // in RNA
  for (char space : std::string_view(" \t\n\v\f\r")) table[static_cast<unsigned char>(space)] = kSkip;
  return table;
}
constexpr auto kDnaTable = make_dna_table();

class DnaEncoder final : public TokenEncoder {
 public:
  void encode(std::string_view piece, std::vector<std::uint32_t>& tokens) override {
    std::size_t end = tokens.size();
    tokens.resize(end + piece.size());
    for (std::size_t i = 0; i < piece.size(); ++i) {
      const std::uint8_t what = kDnaTable[static_cast<unsigned char>(piece[i])];
      if (what < kAmbiguous) {
        tokens[end++] = what;
      } else if (what == kAmbiguous) {
        tokens[end++] = DnaTokenizer::kUnknown;
        ++num_replaced_;
      } else if (what == kInvalid) {
        throw InvalidInput{i, shown(static_cast<unsigned char>(piece[i])) + " is not a nucleotide code"};
      }
    }
    tokens.resize(end);
  }
  void finish(std::vector<std::uint32_t>&) override {}
  std::int64_t num_replaced() const override { return num_replaced_; }

 private:
  std::int64_t num_replaced_ = 0;
};

class IdsEncoder final : public TokenEncoder {
 public:
  explicit IdsEncoder(std::int64_t vocabulary_size) : vocabulary_size_(vocabulary_size) {}

  void encode(std::string_view piece, std::vector<std::uint32_t>& tokens) override {
    for (std::size_t i = 0; i < piece.size(); ++i) {
      const auto byte = static_cast<unsigned char>(piece[i]);
      if (byte >= '0' && byte <= '9') {
        value_ = (in_number_ ? value_ * 10 : 0) + (byte - '0');
        in_number_ = true;
        if (value_ >= vocabulary_size_) {  // checked at every digit, so the value cannot overflow
          throw InvalidInput{i, "an id of " + std::to_string(value_) + " or more, but the vocabulary has " +
                                    std::to_string(vocabulary_size_) + " ids"};
        }
      } else if (is_space(byte) || byte == ',') {
        finish(tokens);
      } else {
        throw InvalidInput{
            i, shown(byte) + " is not part of a list of ids (decimal integers between white space or commas)"};
      }
    }
  }
  void finish(std::vector<std::uint32_t>& tokens) override {
    if (in_number_) tokens.push_back(static_cast<std::uint32_t>(value_));
    in_number_ = false;
  }

 private:
  std::int64_t vocabulary_size_;
  std::int64_t value_ = 0;
  bool in_number_ = false;
};

}  // namespace

std::unique_ptr<TokenEncoder> ByteTokenizer::make_encoder() const { return std::make_unique<ByteEncoder>(); }
void ByteTokenizer::append_text(std::span<const std::int32_t> tokens, std::string& text) const {
  for (std::int32_t id : tokens) text += static_cast<char>(static_cast<unsigned char>(id));
}
std::string ByteTokenizer::to_json() const { return json_of(kind()).dump(); }

std::unique_ptr<TokenEncoder> DnaTokenizer::make_encoder() const { return std::make_unique<DnaEncoder>(); }
void DnaTokenizer::append_text(std::span<const std::int32_t> tokens, std::string& text) const {
  for (std::int32_t id : tokens) text += "ACGTN"[id];
}
std::string DnaTokenizer::to_json() const {
  auto json = json_of(kind());
  json["alphabet"] = "ACGTN";
  json["never_predicted"] = "N";
  return json.dump();
}

IdsTokenizer::IdsTokenizer(std::int64_t vocabulary_size) : vocabulary_size_(vocabulary_size) {
  ensure(vocabulary_size >= 1 && vocabulary_size <= std::numeric_limits<std::int32_t>::max(),
         "a vocabulary has 1 to 2^31 - 1 ids");
}
std::unique_ptr<TokenEncoder> IdsTokenizer::make_encoder() const {
  return std::make_unique<IdsEncoder>(vocabulary_size_);
}
void IdsTokenizer::append_text(std::span<const std::int32_t> tokens, std::string& text) const {
  for (std::int32_t id : tokens) text += std::to_string(id) + ' ';
}
std::string IdsTokenizer::to_json() const {
  auto json = json_of(kind());
  json["vocabulary_size"] = vocabulary_size_;
  return json.dump();
}

}  // namespace rondo

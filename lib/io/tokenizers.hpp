// SPDX-License-Identifier: Apache-2.0
// The three tokenizers that need no training: bytes, DNA letters, and token ids from another program.
#pragma once

#include "io/tokenizer.hpp"

namespace rondo {

/// Every byte is its own token: 256 ids.
class ByteTokenizer final : public Tokenizer {
 public:
  std::string_view kind() const override { return "bytes"; }
  std::int64_t vocabulary_size() const override { return 256; }
  bool is_target(std::int32_t) const override { return true; }
  bool every_id_is_target() const override { return true; }
  std::unique_ptr<TokenEncoder> make_encoder() const override;
  void append_text(std::span<const std::int32_t> tokens, std::string& text) const override;
  std::string_view unit() const override { return "byte"; }
  std::int64_t num_units(std::int32_t) const override { return 1; }
  std::string to_json() const override;
};

/// A C G T N are 0 to 4; U of RNA becomes T, lower case is folded, white space is skipped. The other IUPAC codes become N and
/// are counted. N marks what the sequencer could not read: it is input to the model, never a target.
class DnaTokenizer final : public Tokenizer {
 public:
  static constexpr std::int32_t kUnknown = 4;

  std::string_view kind() const override { return "dna"; }
  std::int64_t vocabulary_size() const override { return 5; }
  bool is_target(std::int32_t id) const override { return id != kUnknown; }
  bool every_id_is_target() const override { return false; }
  std::unique_ptr<TokenEncoder> make_encoder() const override;
  void append_text(std::span<const std::int32_t> tokens, std::string& text) const override;
  std::string_view unit() const override { return "base"; }
  std::int64_t num_units(std::int32_t) const override { return 1; }
  std::string to_json() const override;
};

/// Decimal integers below `vocabulary_size`, separated by white space or commas. Decoding gives the integers, each followed by
/// a space.
class IdsTokenizer final : public Tokenizer {
 public:
  /// @pre 1 <= vocabulary_size <= 2^31 - 1
  explicit IdsTokenizer(std::int64_t vocabulary_size);

  std::string_view kind() const override { return "ids"; }
  std::int64_t vocabulary_size() const override { return vocabulary_size_; }
  bool is_target(std::int32_t) const override { return true; }
  bool every_id_is_target() const override { return true; }
  std::unique_ptr<TokenEncoder> make_encoder() const override;
  void append_text(std::span<const std::int32_t> tokens, std::string& text) const override;
  std::string_view unit() const override { return "token"; }
  std::int64_t num_units(std::int32_t) const override { return 1; }
  std::string to_json() const override;

 private:
  std::int64_t vocabulary_size_;
};

}  // namespace rondo

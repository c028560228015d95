// SPDX-License-Identifier: Apache-2.0
// Interface for converting text to token ids and back. A tokenizer serialises completely, so every corpus and checkpoint
// contains its own. Files and documents are the readers' business.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace rondo {

/// Thrown by an encoder for input that it does not accept; the reader, which knows file and line, converts it to a DataError.
struct InvalidInput {
  std::size_t byte_in_piece;
  std::string message;
};

/// Encodes documents that arrive in pieces; a piece may end anywhere.
class TokenEncoder {
 public:
  virtual ~TokenEncoder() = default;
  /// Appends the tokens that this piece completes. Throws InvalidInput.
  virtual void encode(std::string_view piece, std::vector<std::uint32_t>& tokens) = 0;
  /// Ends the document: appends tokens still pending and resets the encoder. Throws InvalidInput.
  virtual void finish(std::vector<std::uint32_t>& tokens) = 0;
  /// How many input symbols were replaced by a less exact token so far, over all documents.
  virtual std::int64_t num_replaced() const { return 0; }
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// "bytes", "dna", "ids": the value of --tokenizer.
  virtual std::string_view kind() const = 0;
  virtual std::int64_t vocabulary_size() const = 0;
  /// Whether the id can be a target. Ids that cannot are input only.
  virtual bool is_target(std::int32_t id) const = 0;
  virtual bool every_id_is_target() const = 0;
  virtual std::unique_ptr<TokenEncoder> make_encoder() const = 0;
  /// Appends the text of the tokens. @pre 0 <= id < vocabulary_size()
  virtual void append_text(std::span<const std::int32_t> tokens, std::string& text) const = 0;
  /// The unit of per-unit figures: "byte", "base" or "token".
  virtual std::string_view unit() const = 0;
  /// How many units the token stands for.
  virtual std::int64_t num_units(std::int32_t id) const = 0;
  /// Everything needed to reconstruct the tokenizer; the same tokenizer always gives the same text.
  virtual std::string to_json() const = 0;

  /// XXH3-128 of to_json().
  std::string digest() const;
  /// Encodes one whole text. Throws DataError with the byte offset.
  std::vector<std::int32_t> encode(std::string_view text) const;
  std::string decode(std::span<const std::int32_t> tokens) const;
};

/// @param name              bytes, dna, ids, or the path of a file that holds to_json()
/// @param vocabulary_size   for ids only; 0: not given
/// Throws ConfigError naming the known tokenizers, DataError for a broken file.
std::unique_ptr<Tokenizer> make_tokenizer(std::string_view name, std::int64_t vocabulary_size);
/// @param where  named in errors. Throws DataError.
std::unique_ptr<Tokenizer> tokenizer_from_json(std::string_view json, std::string_view where);

}  // namespace rondo

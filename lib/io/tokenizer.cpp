// SPDX-License-Identifier: Apache-2.0
#include "io/tokenizer.hpp"

#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/error.hpp"
#include "io/atomic_file.hpp"
#include "io/digest.hpp"
#include "io/tokenizers.hpp"

namespace rondo {

namespace {

constexpr std::string_view kFormat = "rondo tokenizer";
constexpr std::int64_t kVersion = 1;
constexpr std::int64_t kMaxVocabulary = std::numeric_limits<std::int32_t>::max();
constexpr std::size_t kMaxFileBytes = std::size_t{256} << 20;
constexpr std::string_view kKnown = "known tokenizers: bytes, dna, ids (with --vocabulary), or a tokenizer file";

std::unique_ptr<Tokenizer> tokenizer_from(const nlohmann::json& json, const std::string& where) {
  if (!json.is_object() || json.value("format", "") != kFormat) {
    throw DataError("is not a tokenizer: \"format\": \"" + std::string(kFormat) + "\" is missing", where);
  }
  if (const auto version = json.value("version", std::int64_t{0}); version != kVersion) {
    throw DataError(
        "has tokenizer version " + std::to_string(version) + ", this program reads version " + std::to_string(kVersion),
        where);
  }
  const auto kind = json.value("kind", std::string());
  std::unique_ptr<Tokenizer> tokenizer;
  if (kind == "bytes") tokenizer = std::make_unique<ByteTokenizer>();
  if (kind == "dna") tokenizer = std::make_unique<DnaTokenizer>();
  if (kind == "ids") {
    const auto size = json.value("vocabulary_size", std::int64_t{0});
    if (size < 1 || size > kMaxVocabulary) {
      throw DataError("vocabulary_size " + std::to_string(size) + " is not from 1 to 2147483647", where);
    }
    tokenizer = std::make_unique<IdsTokenizer>(size);
  }
  if (!tokenizer) throw DataError("unknown kind of tokenizer \"" + kind + "\"", where, std::string(kKnown));
  // The fields that describe a built-in tokenizer to other readers must match what this program does.
  if (nlohmann::json::parse(tokenizer->to_json()) != json) {
    throw DataError("the tokenizer's fields are not those of kind \"" + kind + "\"", where);
  }
  return tokenizer;
}

}  // namespace

std::string Tokenizer::digest() const { return digest_hex(to_json()); }

std::vector<std::int32_t> Tokenizer::encode(std::string_view text) const {
  std::vector<std::uint32_t> tokens;
  try {
    const auto encoder = make_encoder();
    encoder->encode(text, tokens);
    encoder->finish(tokens);
  } catch (const InvalidInput& invalid) {
    throw DataError(invalid.message, "byte " + std::to_string(invalid.byte_in_piece));
  }
  return {tokens.begin(), tokens.end()};
}

std::string Tokenizer::decode(std::span<const std::int32_t> tokens) const {
  std::string text;
  append_text(tokens, text);
  return text;
}

std::unique_ptr<Tokenizer> make_tokenizer(std::string_view name, std::int64_t vocabulary_size) {
  if (name == "ids") {
    if (vocabulary_size < 1 || vocabulary_size > kMaxVocabulary) {
      throw ConfigError("the tokenizer ids needs the number of different ids, from 1 to 2147483647", "--vocabulary",
                        "add --vocabulary N, where every id is below N");
    }
    return std::make_unique<IdsTokenizer>(vocabulary_size);
  }
  if (vocabulary_size != 0) {
    throw ConfigError("only the tokenizer ids takes a vocabulary size, not " + std::string(name), "--vocabulary");
  }
  if (name == "bytes") return std::make_unique<ByteTokenizer>();
  if (name == "dna") return std::make_unique<DnaTokenizer>();
  const std::string path(name);
  if (!std::filesystem::exists(path)) {
    throw ConfigError("no tokenizer has this name, and no file either", path, std::string(kKnown));
  }
  return tokenizer_from_json(read_file(path, kMaxFileBytes), path);
}

std::unique_ptr<Tokenizer> tokenizer_from_json(std::string_view json, std::string_view where) {
  try {
    return tokenizer_from(nlohmann::json::parse(json), std::string(where));
  } catch (const nlohmann::json::exception& broken) {
    throw DataError(std::string("broken tokenizer: ") + broken.what(), std::string(where));
  }
}

}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <numeric>

#include "core/error.hpp"
#include "io/tokenizers.hpp"

namespace rondo::test {
namespace {

/// Encodes in pieces of `piece_bytes`.
std::vector<std::uint32_t> encode_in_pieces(const Tokenizer& tokenizer, std::string_view text,
                                            std::size_t piece_bytes) {
  std::vector<std::uint32_t> tokens;
  const auto encoder = tokenizer.make_encoder();
  for (; !text.empty(); text.remove_prefix(std::min(piece_bytes, text.size()))) {
    encoder->encode(text.substr(0, piece_bytes), tokens);
  }
  encoder->finish(tokens);
  return tokens;
}

template <typename Action> std::string complaint(Action action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

TEST(ByteTokenizer, GivesEveryByteBack) {
  std::string text(256, '\0');
  std::iota(text.begin(), text.end(), '\0');
  const ByteTokenizer tokenizer;
  const auto tokens = tokenizer.encode(text);
  ASSERT_EQ(tokens.size(), 256u);
  EXPECT_EQ(tokens[255], 255);
  EXPECT_EQ(tokenizer.decode(tokens), text);
}

TEST(DnaTokenizer, FoldsCaseAndSkipsWhiteSpace) {
  const DnaTokenizer tokenizer;
  EXPECT_EQ(tokenizer.encode("ACGTN acgtn\r\n"), (std::vector<std::int32_t>{0, 1, 2, 3, 4, 0, 1, 2, 3, 4}));
  EXPECT_EQ(tokenizer.decode(std::vector<std::int32_t>{3, 2, 1, 0, 4}), "TGCAN");
}

TEST(DnaTokenizer, TakesUracilOfRnaAsThymine) {
  const DnaTokenizer tokenizer;
  EXPECT_EQ(tokenizer.encode("ACGU acgu"), tokenizer.encode("ACGTACGT"));
}

TEST(DnaTokenizer, CountsTheCodesThatBecomeN) {
  const DnaTokenizer tokenizer;
  const auto encoder = tokenizer.make_encoder();
  std::vector<std::uint32_t> tokens;
  encoder->encode("RYSWKMBDHVkrysN", tokens);
  EXPECT_EQ(tokens, std::vector<std::uint32_t>(15, 4));
  EXPECT_EQ(encoder->num_replaced(), 14) << "N itself is not replaced";
}

TEST(DnaTokenizer, NeverTargetsN) {
  const DnaTokenizer tokenizer;
  EXPECT_FALSE(tokenizer.every_id_is_target());
  for (std::int32_t id = 0; id < 4; ++id) EXPECT_TRUE(tokenizer.is_target(id));
  EXPECT_FALSE(tokenizer.is_target(4));
}

TEST(DnaTokenizer, NamesAWrongLetterAndItsPlace) {
  EXPECT_EQ(complaint([] { DnaTokenizer().encode("ACGX"); }), "byte 3: 'X' is not a nucleotide code");
  EXPECT_EQ(complaint([] { DnaTokenizer().encode(std::string_view("A\0", 2)); }),
            "byte 1: 0x00 is not a nucleotide code");
}

TEST(IdsTokenizer, ReadsIntegersHoweverTheyAreCut) {
  const IdsTokenizer tokenizer(70000);
  const std::string text = "0, 7,69999\n12 \t 345";
  const std::vector<std::uint32_t> expected{0, 7, 69999, 12, 345};
  for (std::size_t piece = 1; piece <= text.size(); ++piece) {
    EXPECT_EQ(encode_in_pieces(tokenizer, text, piece), expected) << piece;
  }
  EXPECT_EQ(tokenizer.decode(std::vector<std::int32_t>{0, 69999}), "0 69999 ");
}

TEST(IdsTokenizer, RefusesWhatIsNoIdOfTheVocabulary) {
  const IdsTokenizer tokenizer(100);
  EXPECT_EQ(complaint([&] { tokenizer.encode("99 100"); }),
            "byte 5: an id of 100 or more, but the vocabulary has 100 ids");
  EXPECT_EQ(complaint([&] { tokenizer.encode("5 -1"); }),
            "byte 2: '-' is not part of a list of ids (decimal integers between white space or commas)");
  EXPECT_NE(complaint([&] { tokenizer.encode("99999999999999999999999999"); }), "accepted") << "no overflow";
}

TEST(Tokenizer, ComesBackFromItsJsonWithTheSameDigest) {
  for (const char* name : {"bytes", "dna", "ids"}) {
    const auto tokenizer = make_tokenizer(name, std::string_view(name) == "ids" ? 1234 : 0);
    const auto again = tokenizer_from_json(tokenizer->to_json(), "a test");
    EXPECT_EQ(again->kind(), name);
    EXPECT_EQ(again->vocabulary_size(), tokenizer->vocabulary_size());
    EXPECT_EQ(again->digest(), tokenizer->digest());
    EXPECT_EQ(tokenizer->digest().size(), 32u);
  }
  EXPECT_NE(ByteTokenizer().digest(), DnaTokenizer().digest());
  EXPECT_NE(IdsTokenizer(10).digest(), IdsTokenizer(11).digest());
}

TEST(Tokenizer, RefusesJsonThatIsNotItsOwn) {
  const auto refusal = [](const char* json) { return complaint([&] { tokenizer_from_json(json, "t.json"); }); };
  EXPECT_NE(refusal("{").find("t.json: broken tokenizer"), std::string::npos);
  EXPECT_EQ(refusal("[]"), "t.json: is not a tokenizer: \"format\": \"rondo tokenizer\" is missing");
  EXPECT_NE(refusal(R"({"format":"rondo tokenizer","version":2,"kind":"bytes"})").find("version 2"), std::string::npos);
  EXPECT_NE(refusal(R"({"format":"rondo tokenizer","version":1,"kind":"runes"})").find("\"runes\""), std::string::npos);
  EXPECT_NE(
      refusal(R"({"format":"rondo tokenizer","version":1,"kind":"ids","vocabulary_size":0})").find("1 to 2147483647"),
      std::string::npos);
  EXPECT_NE(refusal(R"({"format":"rondo tokenizer","version":1,"kind":"dna","alphabet":"TGCAN","never_predicted":"N"})")
                .find("not those of kind \"dna\""),
            std::string::npos);
}

TEST(Tokenizer, NamesTheKnownOnesWhenAskedForAnother) {
  EXPECT_NE(complaint([] { make_tokenizer("words", 0); }).find("known tokenizers: bytes, dna, ids"), std::string::npos);
  EXPECT_NE(complaint([] { make_tokenizer("ids", 0); }).find("add --vocabulary N"), std::string::npos);
  EXPECT_NE(complaint([] { make_tokenizer("bytes", 256); }).find("only the tokenizer ids"), std::string::npos);
}

}  // namespace
}  // namespace rondo::test

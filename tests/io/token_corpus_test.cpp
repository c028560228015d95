// SPDX-License-Identifier: Apache-2.0
// A corpus refuses to open when it contradicts itself, verify finds every flipped byte of its data, and the baselines are
// those of a count by hand.
#include "io/token_corpus.hpp"

#include <cmath>

#include "io/markov_baseline.hpp"
#include "tests/io/corpus_files.hpp"

namespace rondo::test {
namespace {

class TokenCorpusFile : public CorpusFiles {
 protected:
  /// Changes corpus.h5 with a Python program that sees it open as f; then says what opening complains about.
  std::string refusal_after(const std::string& program) {
    std::filesystem::remove(path("corpus.h5"));  // what an earlier program left may be no corpus
    prepare({write("a.jsonl", "{\"text\": \"abcdef\"}\n{\"text\": \"ghij\"}\n")}, "bytes", 0.25);
    write("change.py", "import h5py, numpy as np\nf = h5py.File('corpus.h5', 'r+')\n" + program + "\nf.close()\n");
    EXPECT_EQ(std::system(("cd '" + folder_.string() + "' && /usr/bin/python3 change.py").c_str()), 0) << program;
    return complaint([&] { TokenCorpus(path("corpus.h5")); });
  }
};

TEST_F(TokenCorpusFile, IsReadByH5py) {
  EXPECT_EQ(refusal_after("assert bytes(f['train/tokens'][:]) == b'abcdghi', f['train/tokens'][:]\n"
                          "assert list(f['train/documents']) == [0, 4, 7]\n"
                          "assert bytes(f['validation/tokens'][:]) == b'efj'\n"
                          "assert f['train/tokens'].fletcher32 and f['train/tokens'].chunks == (32768,)\n"
                          "assert bytes(f['train/names'][:]).decode().splitlines()[1].endswith('a.jsonl:2')\n"
                          "assert f.attrs['vocabulary_size'] == 256"),
            "accepted");
}

TEST_F(TokenCorpusFile, RefusesWhatContradictsItself) {
  const auto expect_refusal = [&](const std::string& program, const std::string& reason) {
    const std::string refusal = refusal_after(program);
    EXPECT_NE(refusal.find(reason), std::string::npos) << program << ": " << refusal;
    EXPECT_NE(refusal.find("corpus.h5"), std::string::npos) << refusal;
  };
  expect_refusal("del f.attrs['format']", "is no corpus of Rondo");
  expect_refusal("f.attrs['format_version'] = 3", "is a corpus of version 3; this program reads versions 1 to 2");
  expect_refusal("f.attrs['format_version'] = 0", "is a corpus of version 0; this program reads versions 1 to 2");
  expect_refusal("f.attrs['vocabulary_size'] = 300", "the tokenizer has 256 ids, the corpus says 300");
  expect_refusal("f.attrs['tokenizer_digest'] = '0' * 32", "recorded is 000000");
  expect_refusal("del f['tokenizer']", "there is no dataset of this name");
  expect_refusal("f['train/documents'][0] = 1", "train/documents: the first offset is not 0");
  expect_refusal("f['train/documents'][1] = 0", "offset 1 is not above the one before it");
  expect_refusal("f['train/documents'][1] = 9", "offset 2 is not above the one before it");
  expect_refusal("f['train/documents'][2] = 8", "the last offset is 8, but there are 7");
  expect_refusal("f['validation/tokens'].resize((1,))", "the last offset is 3, but there are 1");
  expect_refusal("f['train/name_offsets'].resize((2,))", "one name for each document");
  expect_refusal("d = f['train/tokens'][:]; del f['train/tokens']; f['train/tokens'] = d.astype('u2')",
                 "of type uint8");
  expect_refusal("d = f['train/documents'][:]; del f['train/documents']; f['train/documents'] = d.astype('f8')",
                 "of type int64");
}

TEST_F(TokenCorpusFile, RefusesWhatIsNoCorpusAtAll) {
  EXPECT_NE(
      complaint([&] { TokenCorpus(path("none.h5")); }).find("none.h5: there is no such corpus\n  make a corpus with"),
      std::string::npos);
  EXPECT_NE(complaint([&] {
              TokenCorpus(write("text.h5", "not HDF5"));
            }).find("text.h5: is no HDF5 file\n  make a corpus with `rondo prepare"),
            std::string::npos);
  EXPECT_NE(complaint([&] { TokenCorpus(path("corpus.h5.partial")); }).find("is an unfinished corpus"),
            std::string::npos);
}

TEST_F(TokenCorpusFile, RefusesIdsAboveTheVocabulary) {
  vocabulary_ = 10;
  prepare({write("ids.txt", "1 2 3")}, "ids", 0);
  write("change.py", "import h5py\nf = h5py.File('corpus.h5', 'r+')\nf['train/tokens'][1] = 10\n");
  ASSERT_EQ(std::system(("cd '" + folder_.string() + "' && /usr/bin/python3 change.py").c_str()), 0);
  const TokenCorpus corpus(path("corpus.h5"));
  EXPECT_NE(complaint([&] { all_tokens(corpus, Split::Train); }).find("not below the vocabulary's size 10"),
            std::string::npos);
}

TEST_F(TokenCorpusFile, RefusesRangesOutsideTheSplit) {
  prepare({write("a.txt", "abc")}, "bytes", 0);
  const TokenCorpus corpus(path("corpus.h5"));
  std::vector<std::int32_t> tokens(2);
  EXPECT_NE(complaint([&] { corpus.read_tokens(Split::Train, 2, tokens); }), "accepted");
  EXPECT_NE(complaint([&] { corpus.read_tokens(Split::Train, -1, tokens); }), "accepted");
  corpus.read_tokens(Split::Train, 1, tokens);
  EXPECT_EQ(tokens, (std::vector<std::int32_t>{'b', 'c'}));
}

TEST_F(TokenCorpusFile, VerifyNamesTheDamagedDataset) {
  std::string text;
  while (text.size() < 200000) text += std::to_string(text.size()) + "\n";
  prepare({write("a.txt", text)}, "bytes", 0.1);
  EXPECT_GT(verify_corpus(path("corpus.h5")), 200000);
  const std::string good = read("corpus.h5");
  const std::size_t train = good.find("0\n2\n4\n6\n"), validation = good.find(text.substr(text.size() - 1000));
  ASSERT_NE(train, std::string::npos);
  ASSERT_NE(validation, std::string::npos);
  for (const auto& [byte, name] :
       {std::pair{train + 5000, "train/tokens"}, std::pair{validation + 10, "validation/tokens"}}) {
    std::string damaged = good;
    damaged[byte] = static_cast<char>(damaged[byte] ^ 4);
    write("corpus.h5", damaged);
    const std::string refusal = complaint([&] { verify_corpus(path("corpus.h5")); });
    EXPECT_NE(refusal.find(std::string("damaged in ") + name + ":"), std::string::npos) << refusal;
  }
  // a lost write: the chunk and its checksum are zeros, which Fletcher32 takes for right
  std::string zeroed = good;
  std::fill_n(zeroed.begin() + static_cast<std::ptrdiff_t>(train), 32768 + 4, '\0');
  write("corpus.h5", zeroed);
  const std::string refusal = complaint([&] { verify_corpus(path("corpus.h5")); });
  EXPECT_NE(refusal.find("damaged in train/tokens: its digest is"), std::string::npos) << refusal;
}

TEST_F(TokenCorpusFile, VerifyOrOpenFindsEveryFlippedByte) {
  prepare({documents(std::vector<std::string>(120, "the same text"))}, "bytes", 0.02);
  const std::string good = read("corpus.h5");
  const std::string all = all_text(TokenCorpus(path("corpus.h5")), Split::Train);
  int num_found = 0, num_harmless = 0;
  for (std::size_t byte = 0; byte < good.size(); byte += good.size() / 150) {
    std::string damaged = good;
    damaged[byte] = static_cast<char>(damaged[byte] ^ 0x10);
    write("corpus.h5", damaged);
    if (complaint([&] { verify_corpus(path("corpus.h5")); }) != "accepted") {
      ++num_found;
    } else {  // room that belongs to nothing
      ++num_harmless;
      EXPECT_EQ(all_text(TokenCorpus(path("corpus.h5")), Split::Train), all) << byte;
    }
  }
  EXPECT_GT(num_found, num_harmless);
}

TEST_F(TokenCorpusFile, RemembersWhichTokensAreTargets) {
  using Ranges = std::vector<TargetRange>;
  write_marked({{10, {{0, 1}, {3, 2}, {5, 1}, {9, 1}}}, {5, {{0, 2}}}, {4, {}}, {6, {{5, 1}}}});
  const TokenCorpus corpus(path("corpus.h5"));
  ASSERT_TRUE(corpus.records_targets(Split::Train));
  const auto ranges = corpus.target_ranges(Split::Train);
  EXPECT_EQ(Ranges(ranges.begin(), ranges.end()), (Ranges{{0, 1}, {3, 6}, {9, 12}, {24, 25}})) << "what touches is one";
  EXPECT_TRUE(corpus.records_targets(Split::Validation));
  EXPECT_TRUE(corpus.target_ranges(Split::Validation).empty());
  EXPECT_GT(verify_corpus(path("corpus.h5")), 0);

  prepare({write("a.txt", "no record")}, "bytes", 0);
  EXPECT_FALSE(TokenCorpus(path("corpus.h5")).records_targets(Split::Train));
}

TEST_F(TokenCorpusFile, WritesTheOldestVersionThatCanSayWhatItHolds) {
  EXPECT_EQ(refusal_after("assert f.attrs['format_version'] == 1 and 'target_ranges' not in f['train']"), "accepted");
  write_marked({{10, {{1, 2}}}});
  write("look.py",
        "import h5py\nf = h5py.File('corpus.h5')\nassert f.attrs['format_version'] == 2\n"
        "assert list(f['train/target_ranges']) == [1, 3]\n");
  EXPECT_EQ(std::system(("cd '" + folder_.string() + "' && /usr/bin/python3 look.py").c_str()), 0);
}

TEST_F(TokenCorpusFile, RefusesTargetsThatAreNoRangesOfTokens) {
  for (const char* ranges : {"[5, 5]", "[7, 6]", "[3, 6, 6, 8]", "[5, 8, 1, 2]", "[-1, 2]", "[9, 11]", "[1, 2, 3]"}) {
    write_marked({{10, {{1, 2}}}});
    write("change.py", std::string("import h5py, numpy as np\nf = h5py.File('corpus.h5', 'r+')\n"
                                   "del f['train/target_ranges']\nf['train/target_ranges'] = np.array(") +
                           ranges + ", dtype='i8')\n");
    ASSERT_EQ(std::system(("cd '" + folder_.string() + "' && /usr/bin/python3 change.py").c_str()), 0);
    EXPECT_NE(complaint([&] { TokenCorpus(path("corpus.h5")); }).find("corpus.h5:train/target_ranges"),
              std::string::npos)
        << ranges;
  }
}

TEST_F(TokenCorpusFile, VerifyReadsTheTargetsToo) {
  write_marked({{10, {{1, 2}}}});
  write("change.py", "import h5py\nf = h5py.File('corpus.h5', 'r+')\nf['train/target_ranges'][0] = 0\n");
  ASSERT_EQ(std::system(("cd '" + folder_.string() + "' && /usr/bin/python3 change.py").c_str()), 0);
  EXPECT_NE(complaint([&] { verify_corpus(path("corpus.h5")); }).find("damaged in train/target_ranges: its digest"),
            std::string::npos);
}

TEST(TargetLookup, AgreesWithASearchOfAllRanges) {
  const std::vector<TargetRange> ranges{{0, 2}, {5, 6}, {9, 20}};
  TargetLookup ascending(ranges), jumping(ranges), none({});
  for (std::int64_t i = 0; i < 30; ++i) {
    const std::int64_t far = i * 17 % 30;
    const auto inside = [&](std::int64_t p) { return p < 2 || p == 5 || (p >= 9 && p < 20); };
    EXPECT_EQ(ascending.contains(i), inside(i)) << i;
    EXPECT_EQ(jumping.contains(far), inside(far)) << far;
    EXPECT_FALSE(none.contains(i));
  }
}

TEST_F(TokenCorpusFile, BaselinesAskForRecordedTargetsOnly) {
  {
    CorpusWriter writer(path("corpus.h5"), *make_tokenizer("bytes", 0), TargetRecord::Ranges);
    for (const Split split : {Split::Train, Split::Validation}) {
      writer.append(split, std::as_bytes(std::span("abab", 4)));
      writer.add_targets(split, 1, 1);
      writer.add_targets(split, 3, 1);
      writer.end_document(split, "document");
    }
    writer.commit({.split_rule = "by the test", .validation_fraction = 0, .seed = 0});
  }
  const auto baselines = markov_baselines(TokenCorpus(path("corpus.h5")), 1);
  EXPECT_EQ(baselines.at(0).num_targets, 2);
  EXPECT_DOUBLE_EQ(baselines.at(0).nats_per_token, -std::log((2 + 0.1) / (2 + 0.1 * 256)));
  EXPECT_DOUBLE_EQ(baselines.at(1).nats_per_token, -std::log((2 + 0.1) / (2 + 0.1 * 256)));
}

// As a program that knows the format adds them, without a digest.
TEST_F(TokenCorpusFile, VerifiesTargetsThatAnotherProgramAdded) {
  prepare({write("a.txt", "aabababb")}, "bytes", 0);
  const auto add = [&](const std::string& ranges) {
    write("change.py",
          "import h5py, numpy\nf = h5py.File('corpus.h5', 'r+')\n"
          "f['train'].pop('target_ranges', None)\n"
          "f['train/target_ranges'] = numpy.array([" +
              ranges + "], dtype='int64')\n");
    ASSERT_EQ(std::system(("cd '" + folder_.string() + "' && /usr/bin/python3 change.py").c_str()), 0);
  };
  const std::int64_t bytes_before = verify_corpus(path("corpus.h5"));
  add("1, 3, 5, 6");
  EXPECT_EQ(TokenCorpus(path("corpus.h5")).target_ranges(Split::Train).size(), 2u);
  EXPECT_EQ(verify_corpus(path("corpus.h5")), bytes_before + 32);
  add("1, 3, 3, 99");
  EXPECT_NE(complaint([&] { verify_corpus(path("corpus.h5")); }).find("train/target_ranges"), std::string::npos);
  // A digest that is there is compared.
  write_marked({{8, {{1, 2}}}});
  verify_corpus(path("corpus.h5"));
  write("change.py", "import h5py\nf = h5py.File('corpus.h5', 'r+')\nf['train/target_ranges'][1] = 4\n");
  ASSERT_EQ(std::system(("cd '" + folder_.string() + "' && /usr/bin/python3 change.py").c_str()), 0);
  EXPECT_NE(complaint([&] { verify_corpus(path("corpus.h5")); }).find("damaged in train/target_ranges"),
            std::string::npos);
}

TEST_F(TokenCorpusFile, BaselinesAreThoseOfACountByHand) {
  // train aabab, validation abb: targets are b and b
  prepare({write("a.txt", "aabababb")}, "bytes", 0.375);
  const TokenCorpus corpus(path("corpus.h5"));
  ASSERT_EQ(all_text(corpus, Split::Validation), "abb");
  const auto baselines = markov_baselines(corpus, 2);
  ASSERT_EQ(baselines.size(), 3u);
  const double smoothed = 25.6;  // 0.1 of 256 ids
  const auto nats = [&](double count, double total) { return -std::log((count + 0.1) / (total + smoothed)); };
  // order 0: of the targets a b a b, two are b; order 1: after a: a, b, b, after b: a; order 2: after ab: a
  EXPECT_NEAR(baselines[0].nats_per_token, nats(2, 4), 1e-14);
  EXPECT_NEAR(baselines[1].nats_per_token, (nats(2, 3) + nats(0, 1)) / 2, 1e-14);
  EXPECT_NEAR(baselines[2].nats_per_token, (nats(2, 3) + nats(0, 1)) / 2, 1e-14);
  for (const MarkovBaseline& baseline : baselines) EXPECT_EQ(baseline.num_targets, 2);
}

TEST_F(TokenCorpusFile, BaselinesCountNeitherAcrossDocumentsNorUnknownBases) {
  prepare({write("a.fa", ">x\nACGNACGN\n>y\nTTTT\n")}, "dna", 0.5);  // train ACGN and TT, validation the same
  const TokenCorpus corpus(path("corpus.h5"));
  const auto baselines = markov_baselines(corpus, 2);
  ASSERT_EQ(baselines.size(), 3u);
  EXPECT_EQ(baselines[0].num_targets, 3) << "C, G and T";
  EXPECT_NEAR(baselines[0].nats_per_token, -std::log(1.1 / 3.5), 1e-14);
  EXPECT_NEAR(baselines[1].nats_per_token, -std::log(1.1 / 1.5), 1e-14);
}

TEST_F(TokenCorpusFile, LargeVocabulariesHaveFewerBaselines) {
  vocabulary_ = 50257;
  prepare({write("ids.txt", "1 2 3 4 5 6")}, "ids", 0.5);
  EXPECT_EQ(markov_baselines(TokenCorpus(path("corpus.h5")), 2).size(), 1u);
}

}  // namespace
}  // namespace rondo::test

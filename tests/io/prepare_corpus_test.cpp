// SPDX-License-Identifier: Apache-2.0
// From input files to a corpus and back, how the validation part is chosen, and that an error leaves nothing
// behind.
#include "io/prepare_corpus.hpp"

#include <numeric>
#include <tuple>

#include "tests/io/corpus_files.hpp"

namespace rondo::test {
namespace {

using PrepareCorpus = CorpusFiles;

TEST_F(PrepareCorpus, GivesBackTheTextOfEveryFileInPathOrder) {
  write("in/b.txt", "second");
  write("in/a/z.md", "first");
  write("in/b/deep.c", "third");  // '/' is above '.', so b.txt comes before b/deep.c
  write("in/empty", "");
  write("in/skipped.h5.partial", "no");
  const PrepareResult result = prepare({path("in")}, "bytes", 0);
  EXPECT_EQ(result.num_files, 4);
  EXPECT_EQ(result.num_empty_documents, 1);
  EXPECT_EQ(result.rule, SplitRule::None);
  const TokenCorpus corpus(path("corpus.h5"));
  EXPECT_EQ(all_text(corpus, Split::Train), "firstsecondthird");
  EXPECT_EQ(corpus.num_documents(Split::Train), 3);
  EXPECT_EQ(corpus.document_name(Split::Train, 0), path("in/a/z.md"));
  EXPECT_EQ(corpus.document_name(Split::Train, 2), path("in/b/deep.c"));
  EXPECT_EQ(corpus.document_of(Split::Train, 4), 0);
  EXPECT_EQ(corpus.document_of(Split::Train, 5), 1);
  EXPECT_EQ(corpus.document_of(Split::Train, 15), 2);
  EXPECT_EQ(corpus.num_tokens(Split::Validation), 0);
}

TEST_F(PrepareCorpus, TakesTheLastPartOfEachOfAFewDocuments) {
  const PrepareResult result = prepare({documents({"0123456789", "abcdefghij", "x"})}, "bytes", 0.2);
  EXPECT_EQ(result.rule, SplitRule::LastPartOfEach);
  const TokenCorpus corpus(path("corpus.h5"));
  EXPECT_EQ(all_text(corpus, Split::Train), "01234567abcdefghx");
  EXPECT_EQ(all_text(corpus, Split::Validation), "89ij");
  EXPECT_EQ(corpus.num_documents(Split::Validation), 2);
  EXPECT_EQ(corpus.document_name(Split::Validation, 1), path("documents.jsonl") + ":2");
  EXPECT_EQ(corpus.split_rule(), "the last part of each document");
}

TEST_F(PrepareCorpus, DrawsWholeDocumentsFromAHundredOn) {
  for (const auto& [num_documents, fraction, least, most] : std::vector<std::tuple<int, double, int, int>>{
           {100, 0.02, 2, 2}, {100, 0.001, 1, 1}, {1000, 0.1, 100, 100}, {1001, 0.03, 30, 31}, {250, 0.5, 125, 125}}) {
    std::vector<std::string> texts;
    for (int i = 0; i < num_documents; ++i) texts.push_back("<" + std::to_string(i) + ">");
    const PrepareResult result = prepare({documents(texts)}, "bytes", fraction);
    EXPECT_EQ(result.rule, SplitRule::WholeDocuments);
    EXPECT_GE(result.num_validation_documents, least);
    EXPECT_LE(result.num_validation_documents, most);
    EXPECT_EQ(result.num_train_documents + result.num_validation_documents, num_documents);
    const TokenCorpus corpus(path("corpus.h5"));
    std::string both = all_text(corpus, Split::Train) + all_text(corpus, Split::Validation);
    for (const std::string& text : texts) EXPECT_NE(both.find(text), std::string::npos) << text;
    EXPECT_EQ(both.size(), std::accumulate(texts.begin(), texts.end(), std::string()).size());
  }
}

TEST_F(PrepareCorpus, SplitsNinetyNineDocumentsWithinEach) {
  EXPECT_EQ(prepare({documents(std::vector<std::string>(99, "0123456789"))}, "bytes", 0.1).rule,
            SplitRule::LastPartOfEach);
  EXPECT_EQ(prepare({documents(std::vector<std::string>(100, "0123456789"))}, "bytes", 0.1).rule,
            SplitRule::WholeDocuments);
}

TEST_F(PrepareCorpus, GivesEqualBytesForEqualInput) {
  const std::string input = documents(std::vector<std::string>(150, "some text"));
  prepare({input}, "bytes", 0.02);
  const std::string first = read("corpus.h5");
  prepare({input}, "bytes", 0.02);
  EXPECT_TRUE(first == read("corpus.h5"));
}

TEST_F(PrepareCorpus, StoresTheNarrowestType) {
  for (const auto& [vocabulary, type] :
       std::vector<std::pair<std::int64_t, Hdf5Type>>{{256, Hdf5Type::UInt8},
                                                      {257, Hdf5Type::UInt16},
                                                      {65536, Hdf5Type::UInt16},
                                                      {65537, Hdf5Type::UInt32},
                                                      {2147483647, Hdf5Type::UInt32}}) {
    vocabulary_ = vocabulary;
    const std::string largest = std::to_string(vocabulary - 1);
    prepare({write("ids.txt", "0 1 " + largest + " 2 3 " + largest)}, "ids", 0.5);
    const TokenCorpus corpus(path("corpus.h5"));
    EXPECT_EQ(Hdf5File::open(path("corpus.h5")).open_dataset("train/tokens").type(), type);
    EXPECT_EQ(all_text(corpus, Split::Train), "0 1 " + largest + " ");
    EXPECT_EQ(all_text(corpus, Split::Validation), "2 3 " + largest + " ");
  }
}

TEST_F(PrepareCorpus, StoresTheTokenizerWhole) {
  prepare({write("a.fa", ">x\nACGTRN\n>y\nAC\n")}, "dna", 0);
  const TokenCorpus corpus(path("corpus.h5"));
  EXPECT_EQ(corpus.tokenizer().kind(), "dna");
  EXPECT_EQ(corpus.vocabulary_size(), 5);
  EXPECT_EQ(corpus.tokenizer_digest(), make_tokenizer("dna", 0)->digest());
  EXPECT_EQ(all_text(corpus, Split::Train), "ACGTNNAC");
}

TEST_F(PrepareCorpus, KeepsLongDocumentsWholeAcrossBuffers) {
  std::string text;
  while (text.size() < 3'500'000) text += std::to_string(text.size()) + " ";
  prepare({write("long.txt", text)}, "bytes", 0.1);
  const TokenCorpus corpus(path("corpus.h5"));
  EXPECT_TRUE(all_text(corpus, Split::Train) + all_text(corpus, Split::Validation) == text);
  EXPECT_EQ(verify_corpus(path("corpus.h5")) > 3'500'000, true);
}

TEST_F(PrepareCorpus, LeavesOldCorporaInAFolderOutAndSaysSo) {
  prepare({write("in/a.txt", "some text")}, "bytes", 0);
  std::filesystem::rename(path("corpus.h5"), path("in/old.h5"));
  const PrepareResult result = prepare({path("in")}, "bytes", 0);
  EXPECT_EQ(result.num_files, 1);
  EXPECT_EQ(result.num_left_out, 1);
  EXPECT_EQ(result.warnings, std::vector<std::string>{"left out: " + path("in/old.h5") +
                                                      " (it is an HDF5 file, as corpora of Rondo are)"});
  EXPECT_EQ(all_text(TokenCorpus(path("corpus.h5")), Split::Train), "some text");
  EXPECT_EQ(complaint([&] { prepare({path("in/a.txt"), path("in/old.h5")}, "bytes", 0); }).find(path("in/old.h5")), 0u);
}

TEST_F(PrepareCorpus, NamesDocumentsInUtf8) {
  prepare({write("in/caf\xe9.txt", "x"), write("in/b.fa", ">h\xf6lle\nACGT\n")}, "bytes", 0);
  const TokenCorpus corpus(path("corpus.h5"));
  EXPECT_EQ(corpus.document_name(Split::Train, 0), path("in/caf\\xe9.txt"));
  EXPECT_EQ(corpus.document_name(Split::Train, 1), "h\\xf6lle");
}

TEST_F(PrepareCorpus, LeavesTheOldCorpusAndNothingElseAfterAnError) {
  prepare({write("good.txt", "the old corpus")}, "bytes", 0);
  write("bad.jsonl", "{\"text\": \"fine\"}\n{\"text\": oops}\n");
  EXPECT_NE(complaint([&] { prepare({path("bad.jsonl")}, "bytes", 0.02); }), "accepted");
  EXPECT_EQ(files_left(), (std::vector<std::string>{"bad.jsonl", "corpus.h5", "good.txt"}));
  EXPECT_EQ(all_text(TokenCorpus(path("corpus.h5")), Split::Train), "the old corpus");
}

TEST_F(PrepareCorpus, StopsCleanlyWhenTheProgressCallThrows) {
  const std::string input = write("long.txt", std::string(5'000'000, 'a'));
  const auto stop = [](const PrepareProgress& progress) {
    EXPECT_EQ(progress.total_input_bytes, 5'000'000);
    throw DataError("enough");
  };
  EXPECT_EQ(complaint([&] {
              prepare_corpus({.inputs = {input}, .output = path("corpus.h5")}, *make_tokenizer("bytes", 0), stop);
            }),
            "enough");
  EXPECT_EQ(files_left(), std::vector<std::string>{"long.txt"});
}

TEST_F(PrepareCorpus, RemovesWhatAKilledPreparationLeft) {
  write("corpus.h5.partial", "\x89HDF\r\n\x1a\nhalf a corpus");
  prepare({write("good.txt", "text")}, "bytes", 0);
  EXPECT_EQ(files_left(), (std::vector<std::string>{"corpus.h5", "good.txt"}));
}

TEST_F(PrepareCorpus, SaysWhatIsWrongWithTheRequest) {
  const std::string input = write("a.txt", "text");
  EXPECT_EQ(complaint([&] { prepare({path("missing")}, "bytes", 0); }), path("missing") + ": no such file or folder");
  EXPECT_NE(complaint([&] { prepare({input}, "bytes", 0.6); }).find("--validation: must be from 0 to 0.5"),
            std::string::npos);
  EXPECT_NE(complaint([&] { prepare({}, "bytes", 0); }).find("no input is given"), std::string::npos);
  EXPECT_NE(complaint([&] { prepare({write("nothing.txt", "")}, "bytes", 0); }).find("the input has no tokens"),
            std::string::npos);
  EXPECT_NE(complaint([&] { prepare({write("blank.txt", " \n")}, "dna", 0); }).find("all its documents are empty"),
            std::string::npos);
  std::filesystem::create_directory(path("hollow"));
  EXPECT_EQ(complaint([&] { prepare({path("hollow")}, "bytes", 0); }), path("hollow") + ": the folder has no files");
  EXPECT_NE(complaint([&] {
              prepare_corpus({.inputs = {input}, .output = path("no/such/corpus.h5")}, *make_tokenizer("bytes", 0), {});
            }).find("the folder does not exist"),
            std::string::npos);
  EXPECT_NE(complaint([&] {
              prepare_corpus({.inputs = {input}, .output = input}, *make_tokenizer("bytes", 0), {});
            }).find("is input and output at once"),
            std::string::npos);
}

}  // namespace
}  // namespace rondo::test

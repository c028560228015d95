// SPDX-License-Identifier: Apache-2.0
// The readers: what is a document in each format, and every complaint with its place.
#include "io/document_reader.hpp"

#include <sys/wait.h>

#include "io/input_plan.hpp"
#include "tests/io/corpus_files.hpp"

namespace rondo::test {
namespace {

/// "name|text;" of each document.
class Collector final : public DocumentSink {
 public:
  void begin(const std::string& name) override { all += name + "|"; }
  void text(std::string_view piece) override { all += piece; }
  void end() override { all += ";"; }
  std::string all;
};

class DocumentReader : public CorpusFiles {
 protected:
  std::string documents_of(const std::string& file, std::optional<InputFormat> format = std::nullopt) const {
    ByteStream stream = ByteStream::open(file);
    Collector collector;
    PlannedInput input{.path = file, .format = format};
    if (!format) recognise_into(input, stream);
    read_documents(stream, *input.format, collector);
    warning_ = stream.warning();
    return collector.all;
  }
  std::string refusal(const std::string& file) const {
    return complaint([&] { documents_of(file); });
  }
  /// The complaint of the whole preparation, where tokenizers have their say.
  std::string prepare_refusal(const std::string& file, const std::string& tokenizer) {
    return complaint([&] { prepare({file}, tokenizer, 0.02); });
  }
  std::string gzip(const std::string& name, const std::string& content) const {
    const std::string plain = write(name + ".plain", content);
    EXPECT_EQ(std::system(("gzip -c '" + plain + "' > '" + path(name) + "'").c_str()), 0);
    return path(name);
  }

  mutable std::string warning_;  // of the last documents_of()
};

TEST_F(DocumentReader, TakesATextFileAsOneDocument) {
  const std::string file = write("a.txt", "{\"text\": 1}\n> b\n");
  EXPECT_EQ(documents_of(file, InputFormat::Text), file + "|{\"text\": 1}\n> b\n;");
  const std::string marked = write("b.txt", "\xef\xbb\xbfwith a byte order mark");
  EXPECT_EQ(documents_of(marked), marked + "|with a byte order mark;");
}

TEST_F(DocumentReader, ReadsGzipOfAnyNumberOfMembersAsOneText) {
  gzip("one", "first ");
  gzip("two", "second");
  const std::string members = read("one") + read("two");
  const std::string file = write("both.data", members);
  EXPECT_EQ(documents_of(file), file + "|first second;");
  const std::string padded =
      write("padded.data", read("one") + std::string(512, '\0') + read("two") + std::string(9, '\0'));
  EXPECT_EQ(documents_of(padded), padded + "|first second;");
  EXPECT_EQ(warning_, "");
}

TEST_F(DocumentReader, PassesOverBytesAfterTheLastGzipMemberAsGunzipDoes) {
  gzip("good.gz", "text");
  const std::string good = read("good.gz");
  const std::string size = std::to_string(good.size());
  for (const std::string& rest : {std::string("more"), std::string("\x1fmore"), "m" + std::string(300000, 'x')}) {
    const std::string file = write("tail.gz", good + rest);
    EXPECT_EQ(documents_of(file), file + "|text;");
    EXPECT_EQ(warning_, file + ": byte " + size + ": " + std::to_string(rest.size()) +
                            " bytes after the last gzip member are ignored, as gunzip does");
    const int gunzip = std::system(("gunzip -c '" + file + "' > '" + path("gunzipped") + "' 2> /dev/null").c_str());
    EXPECT_EQ(WEXITSTATUS(gunzip), 2) << "a warning";
    EXPECT_EQ(read("gunzipped"), "text");
  }
}

TEST_F(DocumentReader, LooksThroughGzipForTheFormat) {
  EXPECT_EQ(documents_of(gzip("a.fa.gz", ">x\nACGT\n")), "x|ACGT;");
  const std::string file = gzip("a.jsonl.gz", "{\"text\":\"t\"}\n");
  EXPECT_EQ(documents_of(file), file + ":1|t;");
}

TEST_F(DocumentReader, SaysAtWhichByteGzipIsBroken) {
  gzip("good.gz", std::string(100000, 'a') + "b");
  const std::string good = read("good.gz");
  EXPECT_NE(
      refusal(write("cut.gz", good.substr(0, 50))).find("cut.gz: byte 50: the gzip data end in the middle of a member"),
      std::string::npos);
  std::string wrong_checksum = good;
  wrong_checksum[good.size() - 6] = static_cast<char>(wrong_checksum[good.size() - 6] ^ 1);
  EXPECT_NE(refusal(write("crc.gz", wrong_checksum)).find("broken gzip data: incorrect data check"), std::string::npos);
}

TEST_F(DocumentReader, FindsEveryTruncationOfAGzipFile) {
  gzip("good.gz", "some text that is compressed, some text that is compressed");
  const std::string good = read("good.gz");
  for (std::size_t length = 2; length < good.size(); ++length) {
    EXPECT_NE(refusal(write("cut.gz", good.substr(0, length))).find("truncated"), std::string::npos) << length;
  }
}

TEST_F(DocumentReader, TakesTheTextOfEveryJsonLine) {
  const std::string file =
      write("a.jsonl",
            "{\"id\": 7, \"text\": \"one \\u00e9\\n\", \"more\": {\"text\": \"no\", \"list\": [1, [\"x\"]]}}\n"
            "\n"
            "{\"text\": [3, 14, 15]}\r\n"
            "{\"text\": \"last\"}");
  EXPECT_EQ(documents_of(file), file + ":1|one \u00e9\n;" + file + ":3|3 14 15 ;" + file + ":4|last;");
}

TEST_F(DocumentReader, SaysInWhichLineJsonIsBroken) {
  const auto refusal_of = [&](const std::string& line) {
    return refusal(write("a.jsonl", "{\"text\": \"fine\"}\n" + line + "\n"));
  };
  const std::string at = path("a.jsonl") + ":2";
  EXPECT_EQ(refusal_of("{\"text\": oops}").rfind(at + ":10: broken JSON: ", 0), 0u) << refusal_of("{\"text\": oops}");
  EXPECT_EQ(refusal_of("{\"text\": \"cut").rfind(at + ":", 0), 0u);
  EXPECT_EQ(refusal_of("{\"text\": \"\xff\"}").rfind(at + ":", 0), 0u) << "not UTF-8";
  EXPECT_EQ(refusal_of("{\"other\": \"fine\"}"),
            at + ": the member \"text\" is missing\n  --format text takes each input as one text");
  EXPECT_EQ(refusal_of("{\"text\": 5}"),
            at + ": the member \"text\" must be a string or a list of integers, not a number");
  EXPECT_EQ(refusal_of("{\"text\": [1, 2.5]}"),
            at + ": the member \"text\" must be a string or a list of integers, not a fraction");
  EXPECT_EQ(refusal_of("{\"text\": \"a\", \"text\": \"b\"}"), at + ": the member \"text\" appears twice");
  EXPECT_EQ(refusal_of("[\"text\"]"), at + ": the line is not a JSON object");
  EXPECT_EQ(refusal_of("\"text\""), at + ": the line is not a JSON object");
  EXPECT_EQ(refusal_of("{} {}").rfind(at + ":4: broken JSON: ", 0), 0u) << refusal_of("{} {}");
}

TEST_F(DocumentReader, TakesNaNAndInfinityInMembersThatAreNotRead) {
  const std::string file = write("a.jsonl",
                                 "{\"loss\": NaN, \"text\": \"NaN\", \"list\": [Infinity, -Infinity, {\"x\":NaN}]}\n"
                                 "{\"a\\\"NaN\": -Infinity, \"text\": \"a \\\"NaN\\\" Infinity\"}\n");
  EXPECT_EQ(documents_of(file), file + ":1|NaN;" + file + ":2|a \"NaN\" Infinity;");
  EXPECT_EQ(refusal(write("b.jsonl", "{\"text\": [1, NaN]}\n")),
            path("b.jsonl") + ":1: the member \"text\" must be a string or a list of integers, not a fraction");
  EXPECT_EQ(
      refusal(write("b.jsonl", "{\"a\": NaN, \"text\": \"b\" oops}\n")).rfind(path("b.jsonl") + ":1:24: broken", 0), 0u)
      << refusal(path("b.jsonl"));
  EXPECT_NE(refusal(write("b.jsonl", "{\"a\": NaNa, \"text\": \"b\"}\n")), "accepted");
}

TEST_F(DocumentReader, SaysInShortWhatIsWrongWithALongLine) {
  EXPECT_LT(refusal(write("a.jsonl", "{\"text\": \"" + std::string(100000, 'x'))).size(), 1000u);
}

TEST_F(DocumentReader, TakesEveryFastaRecordAsADocument) {
  EXPECT_EQ(documents_of(write("a.fna", ">chr1 of something\r\nACGT\r\nAC\r\n\r\n>\nTT\n>last\nN*-")),
            "chr1|ACGTAC;record 2|TT;last|N*-;");
}

TEST_F(DocumentReader, TakesFastaAsDatabasesAndOldToolsWriteIt) {
  const auto documents_in = [&](const std::string& content) { return documents_of(write("a.fa", content)); };
  EXPECT_EQ(documents_in(">a\nACGT \nGG\t\n>b\nCC\n"), "a|ACGTGG;b|CC;") << "blanks at the ends of lines";
  EXPECT_EQ(documents_in(">a\nACGT\n>b\nGG\n   \n"), "a|ACGT;b|GG;") << "a last line of blanks";
  EXPECT_EQ(documents_in(">a\nACGTACGTAC GTACGTACGT\n"), "a|ACGTACGTACGTACGTACGT;") << "blocks of ten";
  EXPECT_EQ(documents_in("; from a database\n>a\n;;\nACGT\n; >c\nAC\n>b\nGG\n"), "a|ACGTAC;b|GG;") << "comments";
  EXPECT_EQ(documents_in(">a\rACGT\rAC\r>b\rGG\r"), "a|ACGTAC;b|GG;") << "line ends of the old Macintosh";
  EXPECT_EQ(documents_in(">a\r\nACGT\r\n>b\r\nGG\r\n\x1a"), "a|ACGT;b|GG;") << "Ctrl-Z, the end of a file of DOS";
  EXPECT_EQ(documents_in(">a\nACGT\n\x1a\x1a\x1a\r\n"), "a|ACGT;");
  EXPECT_EQ(documents_in(">gi|1|x description\x01gi|2|y other\nAC\n>b\x01gi|3\nGG\n"), "gi|1|x|AC;b|GG;");
  EXPECT_EQ(documents_in("\xef\xbb\xbf>a\nACGT\n"), "a|ACGT;") << "a byte order mark";
  EXPECT_EQ(documents_in(">a " + std::string(200000, 'h') + "\nACGT\n"), "a|ACGT;") << "a description of any length";
}

TEST_F(DocumentReader, StreamsFastaLinesLongerThanABlock) {
  const std::string line(3 * ByteStream::kBlockBytes + 17, 'A');
  EXPECT_TRUE(documents_of(write("a.fa", ">x\n" + line + "\nC\n>y\nG")) == "x|" + line + "C;y|G;");
  EXPECT_EQ(refusal(write("bad.fa", ">x\n" + line + "!\n")),
            path("bad.fa") + ":2:" + std::to_string(line.size() + 1) + ": a byte that is not a sequence letter");
}

TEST_F(DocumentReader, SaysWhichFastaLineIsWrong) {
  const auto refusal_of = [&](const std::string& content) { return refusal(write("a.fa", content)); };
  EXPECT_EQ(refusal_of("ACGT\n"), path("a.fa") + ":1:1: sequence before the first header line, which begins with '>'");
  EXPECT_EQ(refusal_of(">x\nAC\nA7\n"), path("a.fa") + ":3:2: a byte that is not a sequence letter");
  EXPECT_EQ(refusal_of(">x\r\nAC\r\n\r\nAC\r\n  1 GT\r\n"),
            path("a.fa") + ":5:3: a byte that is not a sequence letter");
  EXPECT_EQ(refusal_of(">x\rAC\rG>T\r"), path("a.fa") + ":3:2: a byte that is not a sequence letter");
  EXPECT_EQ(refusal_of(">x\nAC\x1a\nGT\n"),
            path("a.fa") + ":2:3: a byte that is not a sequence letter: a Ctrl-Z, and more after it");
  EXPECT_EQ(refusal_of(">x\nAC\n\x1a\n>y\n").find(path("a.fa") + ":3:1: "), 0u);
  EXPECT_EQ(refusal_of(""), path("a.fa") + ": there is no FASTA record, which would begin with '>'");
  EXPECT_EQ(refusal_of(">" + std::string(70000, 'h')).find(path("a.fa") + ":1:"), 0u) << "a name of more than 64 KiB";
}

TEST_F(DocumentReader, PlacesWhatATokenizerRefuses) {
  EXPECT_EQ(prepare_refusal(write("a.fa", ">x\nACGT\nACEG\n"), "dna"),
            path("a.fa") + ":3:3: 'E' is not a nucleotide code");
  EXPECT_EQ(prepare_refusal(write("a.txt", std::string(2 * ByteStream::kBlockBytes, 'A') + "?"), "dna"),
            path("a.txt") + ": byte " + std::to_string(2 * ByteStream::kBlockBytes) + ": '?' is not a nucleotide code");
  vocabulary_ = 10;
  EXPECT_EQ(prepare_refusal(write("a.jsonl", "{\"text\": [1, 2]}\n{\"text\": [1, 10]}\n"), "ids"),
            path("a.jsonl") + ":2: an id of 10 or more, but the vocabulary has 10 ids (byte 3 of the text)");
  EXPECT_EQ(
      prepare_refusal(write("ids.txt", "1 2\n3 x"), "ids"),
      path("ids.txt") + ": byte 6: 'x' is not part of a list of ids (decimal integers between white space or commas)");
}

TEST_F(DocumentReader, KnowsItsFormatsByName) {
  EXPECT_EQ(input_format_from("auto"), std::nullopt);
  EXPECT_EQ(input_format_from("fasta"), InputFormat::Fasta);
  EXPECT_NE(complaint([] { input_format_from("xml"); }).find("known: auto, text, jsonl, fasta"), std::string::npos);
}

}  // namespace
}  // namespace rondo::test

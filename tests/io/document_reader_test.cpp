// SPDX-License-Identifier: Apache-2.0
// The readers: what is a document in each format, how formats are told apart, and every complaint with its place.
#include "io/document_reader.hpp"

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
    read_documents(stream, format ? *format : detect_format(file, stream), collector);
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
};

TEST_F(DocumentReader, TakesATextFileAsOneDocument) {
  const std::string file = write("a.txt", "{\"text\": 1}\n> b\n");
  EXPECT_EQ(documents_of(file), file + "|{\"text\": 1}\n> b\n;");
}

TEST_F(DocumentReader, ReadsGzipOfAnyNumberOfMembersAsOneText) {
  gzip("one", "first ");
  gzip("two", "second");
  const std::string members = read("one") + read("two");
  const std::string file = write("both.data", members);
  EXPECT_EQ(documents_of(file), file + "|first second;");
  const std::string padded = write("padded.data", members + std::string(512, '\0'));
  EXPECT_EQ(documents_of(padded), padded + "|first second;");
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
  EXPECT_EQ(refusal(write("tail.gz", good + "more")), path("tail.gz") + ": byte " + std::to_string(good.size()) +
                                                          ": there are bytes behind the last gzip member");
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
  EXPECT_EQ(refusal_of("{\"other\": \"fine\"}"), at + ": the member \"text\" is missing");
  EXPECT_EQ(refusal_of("{\"text\": 5}"),
            at + ": the member \"text\" must be a string or a list of integers, not a number");
  EXPECT_EQ(refusal_of("{\"text\": [1, 2.5]}"),
            at + ": the member \"text\" must be a string or a list of integers, not a fraction");
  EXPECT_EQ(refusal_of("{\"text\": \"a\", \"text\": \"b\"}"), at + ": the member \"text\" appears twice");
  EXPECT_EQ(refusal_of("[\"text\"]"), at + ": the line is not a JSON object");
  EXPECT_EQ(refusal_of("\"text\""), at + ": the line is not a JSON object");
  EXPECT_EQ(refusal_of("{} {}").rfind(at + ":4: broken JSON: ", 0), 0u) << refusal_of("{} {}");
}

TEST_F(DocumentReader, TakesEveryFastaRecordAsADocument) {
  EXPECT_EQ(documents_of(write("a.fna", ">chr1 of something\r\nACGT\r\nAC\r\n\r\n>\nTT\n>last\nN*-")),
            "chr1|ACGTAC;record 2|TT;last|N*-;");
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
  EXPECT_EQ(refusal_of(">x\nAC GT\n"), path("a.fa") + ":2:3: white space inside a line of sequence");
  EXPECT_EQ(refusal_of(">x\nAC\rGT\n"), path("a.fa") + ":2:3: a byte that is not a sequence letter");
  EXPECT_EQ(refusal_of(""), path("a.fa") + ": there is no FASTA record, which would begin with '>'");
  EXPECT_EQ(refusal_of(">" + std::string(70000, 'h')), path("a.fa") + ":1:1: a header line of more than 64 KiB");
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

TEST_F(DocumentReader, TellsFormatsApartByContentWhereTheNameIsSilent) {
  const auto format_of = [&](const std::string& name, const std::string& content) {
    const std::string file = write(name, content);
    ByteStream stream = ByteStream::open(file);
    return detect_format(file, stream);
  };
  EXPECT_EQ(format_of("x", ">seq\nACGT\n"), InputFormat::Fasta);
  EXPECT_EQ(format_of("x", "> quoted text\nand an answer.\n"), InputFormat::Text);
  EXPECT_EQ(format_of("x", "{\"text\": \"a\"}\n"), InputFormat::JsonLines);
  EXPECT_EQ(format_of("x.json", "{\n \"text\": \"a\"}\n"), InputFormat::Text) << "JSON, but not one object a line";
  EXPECT_EQ(format_of("x.c", "int main() {}\n"), InputFormat::Text);
  EXPECT_EQ(format_of("x.ndjson", ""), InputFormat::JsonLines);
  EXPECT_EQ(format_of("x.txt", ">seq\nACGT\n"), InputFormat::Text) << "the name comes first";
  EXPECT_EQ(documents_of(write("y.jsonl", "plain"), InputFormat::Text), path("y.jsonl") + "|plain;")
      << "--format comes before it";
}

TEST_F(DocumentReader, KnowsItsFormatsByName) {
  EXPECT_EQ(input_format_from("auto"), std::nullopt);
  EXPECT_EQ(input_format_from("fasta"), InputFormat::Fasta);
  EXPECT_NE(complaint([] { input_format_from("xml"); }).find("known: auto, text, jsonl, fasta"), std::string::npos);
}

}  // namespace
}  // namespace rondo::test

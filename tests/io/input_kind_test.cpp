// SPDX-License-Identifier: Apache-2.0
// What an input is depends on its bytes alone: not on the pieces in which they arrive, nor on a file, a pipe or gzip, nor on
// the length of a line.
#include "io/input_kind.hpp"

#include <array>
#include <cstdio>

#include "io/document_reader.hpp"
#include "tests/io/corpus_files.hpp"

namespace rondo::test {
namespace {

/// The texts of the documents, a line each.
class Texts final : public DocumentSink {
 public:
  void begin(const std::string&) override {}
  void text(std::string_view piece) override { all += piece; }
  void end() override { all += '\n'; }
  std::string all;
};

class InputKinds : public CorpusFiles {
 protected:
  static std::string outcome(ByteStream stream) {
    try {
      const Recognition found = recognise_input(stream);
      constexpr std::array<const char*, 5> kWords{"text: ", "jsonl: ", "fasta: ", "binary: ", "foreign: "};
      std::string what = kWords[static_cast<std::size_t>(found.kind)];
      if (found.kind == InputKind::Foreign) return what + found.why;
      const InputFormat format = found.kind == InputKind::JsonLines ? InputFormat::JsonLines
                                 : found.kind == InputKind::Fasta   ? InputFormat::Fasta
                                                                    : InputFormat::Text;
      Texts texts;
      read_documents(stream, format, texts);
      return what + texts.all;
    } catch (const DataError& error) {
      return "refused: " + error.message();
    }
  }

  std::string outcome_of(const std::string& content) const {
    return outcome(ByteStream::open(write("input", content)));
  }
  std::string through_a_pipe(const std::string& file) const {
    std::FILE* pipe = ::popen(("cat '" + file + "'").c_str(), "r");
    const std::string result = outcome(ByteStream::open("/dev/fd/" + std::to_string(::fileno(pipe))));
    ::pclose(pipe);  // where the input is refused, its writer ends by SIGPIPE
    return result;
  }
  /// Of equal outcomes from a file, a pipe, gzip and gzip in a pipe.
  std::string outcome_everywhere(const std::string& content) const {
    const std::string file = write("input", content), plain = outcome(ByteStream::open(file));
    EXPECT_TRUE(through_a_pipe(file) == plain) << content.size() << " bytes through a pipe";
    EXPECT_EQ(std::system(("gzip -1kf '" + file + "'").c_str()), 0);
    EXPECT_TRUE(outcome(ByteStream::open(file + ".gz")) == plain) << content.size() << " bytes, gzip";
    EXPECT_TRUE(through_a_pipe(file + ".gz") == plain) << content.size() << " bytes, gzip through a pipe";
    return plain;
  }

  static std::vector<std::string> examples() {
    const std::string bom = "\xef\xbb\xbf";
    return {"",
            "\n",
            "some text\nof two lines",
            bom + "text",
            bom,
            "\xef\xbb",
            std::string("a\0b", 3),
            "{\"text\": \"one\"}\n{\"text\": \"two\"}\n",
            "\r\n \n  {\"id\": [1, {\"text\": 2}, NaN], \"text\": \"one\"}\r\n\n{\"text\":\"two\"}",
            bom + "{\"a\": {\"b\": \"}\\\"{\"}, \"text\": \"\u00e9\"}\n" + bom + "{\"text\": \"two\"}\n\x1a\x1a",
            "{\"a\": -Infinity}\n{\"text\": \"b\"}\n",
            "{\"a\": 1}\nplain\n",
            "{\n \"text\": \"a\"}\n",
            "{\"text\" \"a\"}\n",
            "{\"text\": \"caf\xe9\"}\n",
            "[{\"text\": \"a\"}]\n",
            ">a\nACGT\n>b\nGG\n",
            ">a b \x01 c\r\n\r\nACGT \t\r\nGG\r\n>b\r\nCC\r\n   \r\n",
            ">a\rACGT\r\r>b\rGG\r",
            "; by hand\n;\n>a\nACGT\n; more\nAC\n",
            bom + ">a\nacgu\n\x1a",
            ">a\nACGT ACGT\nAC GT",
            ">a\n>b\nACGT\n",
            "> a question\nand an answer.\n",
            ">a\nACGT\n\x1aGG\n",
            "BZh91AY&SYdata",
            "PK\x03\x04zip",
            "\xff\xfetext"};
  }
};

TEST_F(InputKinds, DoNotDependOnThePiecesThatAreRead) {
  for (const std::string& content : examples()) {
    const std::string file = write("input", content), whole = outcome(ByteStream::open(file));
    for (std::size_t block_bytes = 1; block_bytes <= content.size() + 1; ++block_bytes) {
      EXPECT_EQ(outcome(ByteStream::open(file, {}, block_bytes)), whole) << content << " in pieces of " << block_bytes;
    }
  }
}

TEST_F(InputKinds, AreTheSameFromAFileAPipeAndGzip) {
  for (const std::string& content : examples()) outcome_everywhere(content);
}

// A pipe holds 64 KiB, and a block has 256 KiB.
TEST_F(InputKinds, DoNotDependOnTheLengthOfTheFirstLine) {
  const std::string tail = "{\"text\": \"two\"}\n";
  for (const std::size_t boundary : {std::size_t{1} << 16, ByteStream::kBlockBytes}) {
    for (const std::size_t length : {boundary - 1, boundary, boundary + 1}) {
      const std::string a(length - 12, 'a'), b(length - 22, 'b');
      ASSERT_EQ(("{\"text\": \"" + a + "\"}").size(), length);
      EXPECT_TRUE(outcome_everywhere("{\"text\": \"" + a + "\"}\n" + tail) == "jsonl: " + a + "\ntwo\n") << length;
      EXPECT_TRUE(outcome_everywhere("{\"meta\": \"" + b + "\", \"text\": \"one\"}\n" + tail) == "jsonl: one\ntwo\n");
      EXPECT_EQ(outcome_everywhere("{\"meta\": \"" + b + "\"}\n" + tail), "refused: the member \"text\" is missing");
      EXPECT_TRUE(outcome_everywhere(">h " + b + "\nACGT\n>i\nGG\n") == "fasta: ACGT\nGG\n") << length;
      const std::string sequence(length, 'A');
      EXPECT_TRUE(outcome_everywhere(">h\n" + sequence + "\n>i\nGG\n") == "fasta: " + sequence + "\nGG\n") << length;
      EXPECT_TRUE(outcome_everywhere(std::string(length, '\n') + tail) == "jsonl: two\n") << length;
      EXPECT_TRUE(outcome_everywhere(sequence + "\n" + tail) == "text: " + sequence + "\n" + tail + "\n") << length;
    }
  }
}

TEST_F(InputKinds, TellJsonLinesByTheirFirstTwoLines) {
  EXPECT_EQ(outcome_of("{\"text\": \"a\"}"), "jsonl: a\n") << "a last line needs no newline";
  EXPECT_EQ(outcome_of("\n  \r\n{\"text\": \"a\"}\n"), "jsonl: a\n");
  EXPECT_EQ(outcome_of("{\"x\": {\"text\": 1}, \"y\": [\"text\", {}]}\n"),
            "text: {\"x\": {\"text\": 1}, \"y\": [\"text\", {}]}\n\n")
      << "one object without the member may be any file";
  EXPECT_EQ(outcome_of("{\"x\": 1}\n{\"x\": 2}\n"), "refused: the member \"text\" is missing");
  EXPECT_EQ(outcome_of("{\"text\": \"cut").find("refused: broken JSON"), 0u) << "damage does not make it text";
  EXPECT_EQ(outcome_of("{\n \"text\": \"a\"}\n"), "text: {\n \"text\": \"a\"}\n\n")
      << "JSON, but not one object a line";
  EXPECT_EQ(outcome_of("{% block \"text\": %}\n"), "text: {% block \"text\": %}\n\n");
  EXPECT_EQ(outcome_of("{}\n{}\n"), "refused: the member \"text\" is missing");
  EXPECT_EQ(outcome_of("{;}\n{;}\n"), "text: {;}\n{;}\n\n");
}

TEST_F(InputKinds, TellFastaByItsFirstRecord) {
  EXPECT_EQ(outcome_of(">a\nMKV*-X\n"), "fasta: MKV*-X\n");
  EXPECT_EQ(outcome_of("\n; comment\n\n>a\n\nACGT\n"), "fasta: ACGT\n");
  EXPECT_EQ(outcome_of(">a\n>b\nACGT\n"), "fasta: \nACGT\n") << "an empty record";
  EXPECT_EQ(outcome_of("> quoted text\nand an answer.\n"), "text: > quoted text\nand an answer.\n\n");
  EXPECT_EQ(outcome_of("> quoted\n> text\nYes\n"), "text: > quoted\n> text\nYes\n\n");
  EXPECT_EQ(outcome_of("> quoted\nMKV is it\n"), "text: > quoted\nMKV is it\n\n");
  EXPECT_EQ(outcome_of("  >a\nACGT\n"), "text:   >a\nACGT\n\n");
  EXPECT_EQ(outcome_of("; a comment\n(of lisp)\n"), "text: ; a comment\n(of lisp)\n\n");
  EXPECT_EQ(outcome_of(">a\n"), "text: >a\n\n");
}

TEST_F(InputKinds, NameWhatIsNotReadWithTheCommandThatUnpacksIt) {
  const auto recognise = [&](const std::string& content) {
    ByteStream stream = ByteStream::open(write("input", content));
    return recognise_input(stream);
  };
  const std::string tar = std::string(257, 'a') + std::string("ustar\0", 6) + std::string(300, '\0');
  EXPECT_EQ(recognise("\x28\xb5\x2f\xfd....").why, "compressed with zstd");
  EXPECT_EQ(recognise("\x28\xb5\x2f\xfd....").advice, "turn it into text first: zstd -d " + path("input"));
  EXPECT_EQ(recognise(tar).why, "a tar archive");
  EXPECT_EQ(recognise("%PDF-1.4").advice, "turn it into text first: pdftotext " + path("input"));
  EXPECT_EQ(recognise(std::string("\xff\xfet\0", 4)).advice,
            "turn it into text first: iconv -f UTF-16 -t UTF-8 " + path("input"));
  EXPECT_EQ(recognise(std::string("\xff\xfe\0\0t\0\0\0", 8)).why, "text in UTF-32");
  EXPECT_EQ(recognise("\x89HDF\r\n\x1a\n").kind, InputKind::Foreign);
  EXPECT_EQ(recognise(std::string(7999, 'a') + '\0').kind, InputKind::Binary);
  EXPECT_EQ(recognise(std::string(8000, 'a') + '\0').kind, InputKind::Text);
  EXPECT_EQ(recognise("BZh9 is how such a file begins, and PAR1, GGUF and ustar are words").kind, InputKind::Text);
  EXPECT_NE(recognise(" [\n{\"text\": \"a\"}]").doubt.find("jq -c '.[]'"), std::string::npos);
}

TEST_F(InputKinds, RecogniseFilesThatTheirProgramsMade) {
  write("a.txt", std::string(1000, 'a') + "\n");
  const auto made_by = [&](const std::string& command, const std::string& file) {
    if (std::system(("cd '" + folder_.string() + "' && (" + command + ") 2> /dev/null").c_str()) != 0) return false;
    ByteStream stream = ByteStream::open(path(file));
    EXPECT_EQ(recognise_input(stream).kind, InputKind::Foreign) << command;
    return true;
  };
  ASSERT_TRUE(made_by("tar -cf a.tar a.txt", "a.tar"));
  ASSERT_TRUE(made_by("tar -czf a.tgz a.txt", "a.tgz")) << "looked into through gzip";
  ASSERT_TRUE(made_by("gzip -c a.txt | gzip -c > twice.gz", "twice.gz"));
  ASSERT_TRUE(made_by("iconv -f UTF-8 -t UTF-16 a.txt > a.utf16", "a.utf16"));
  int others = 0;  // where these programs are installed
  for (const char* program : {"bzip2", "xz", "zstd", "lz4", "lzip", "compress"}) {
    others += made_by(std::string(program) + " -c < a.txt > packed", "packed") ? 1 : 0;
  }
  EXPECT_GE(others, 1);
  prepare({path("a.txt")}, "bytes", 0);
  ByteStream stream = ByteStream::open(path("corpus.h5"));
  EXPECT_EQ(recognise_input(stream).kind, InputKind::Foreign) << "a corpus";
}

TEST_F(InputKinds, HeedTheNamesOfJsonLinesAndFasta) {
  const auto kind_of = [&](const std::string& name, const std::string& content) {
    ByteStream stream = ByteStream::open(write(name, content));
    return recognise_input(stream).kind;
  };
  EXPECT_EQ(kind_of("a.jsonl", "plain"), InputKind::JsonLines) << "so that its first broken line is an error";
  EXPECT_EQ(kind_of("A.NDJSON.GZ", ""), InputKind::JsonLines);
  EXPECT_EQ(kind_of("a.FA", "plain"), InputKind::Fasta);
  EXPECT_EQ(kind_of("a.fsa", "plain"), InputKind::Fasta);
  EXPECT_EQ(kind_of("a.txt", ">a\nACGT\n"), InputKind::Fasta) << "other names say nothing";
  EXPECT_EQ(kind_of("a.txt", "{\"text\": \"a\"}\n"), InputKind::JsonLines);
  EXPECT_EQ(kind_of("a.json", "text"), InputKind::Text);
  EXPECT_EQ(kind_of("a.jsonl", "\x28\xb5\x2f\xfd"), InputKind::Foreign) << "bytes come first";
}

}  // namespace
}  // namespace rondo::test

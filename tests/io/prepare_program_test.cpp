// SPDX-License-Identifier: Apache-2.0
// The commands as a user runs them: exit codes, pipes, kill -9 at any moment, a full disk.
#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "core/utf8.hpp"
#include "tests/io/corpus_files.hpp"

namespace rondo::test {
namespace {

class PrepareProgram : public CorpusFiles {
 protected:
  static std::string program() {
    return (std::filesystem::read_symlink("/proc/self/exe").parent_path().parent_path() / "bin" / "rondo").string();
  }
  /// A shell line in the folder, where $RONDO is the program. Its output is in the files out and err.
  int run(const std::string& line) const {
    const std::string command =
        "cd '" + folder_.string() + "' && RONDO='" + program() + "' && (" + line + ") >out 2>err";
    const int status = std::system(command.c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  std::string error() const { return read("err"); }
};

TEST_F(PrepareProgram, PreparesAPipe) {
  ASSERT_EQ(run("printf 'hello from a pipe' | $RONDO prepare - -o c.h5 --tokenizer bytes --validation 0"), 0)
      << error();
  ASSERT_EQ(run("$RONDO corpus sample c.h5"), 0) << error();
  EXPECT_EQ(read("out"), "hello from a pipe\n");
  EXPECT_NE(error().find("train document 0 of 1: standard input"), std::string::npos);
  ASSERT_EQ(run("printf '>s\\nACGT' | gzip | $RONDO prepare - -o c.h5 --tokenizer dna --validation 0"), 0) << error();
  ASSERT_EQ(run("$RONDO corpus sample c.h5 --offset 1 --tokens 2"), 0);
  EXPECT_EQ(read("out"), "CG\n");
}

TEST_F(PrepareProgram, ReadsNamedPipesInTheirOrder) {
  const std::string line =
      "mkfifo a b; (printf one > a; printf two > b) & $RONDO prepare a b -o c.h5 -t bytes --validation 0; wait";
  ASSERT_EQ(run(line), 0) << error();
  ASSERT_EQ(run("$RONDO corpus sample c.h5 --document 1"), 0) << error();
  EXPECT_EQ(read("out"), "two\n");
  ASSERT_EQ(run("RONDO=$RONDO bash -c '$RONDO prepare <(printf three) -o c.h5 -t bytes --validation 0'"), 0) << error();
  ASSERT_EQ(run("$RONDO corpus sample c.h5"), 0);
  EXPECT_EQ(read("out"), "three\n");
  EXPECT_EQ(run("$RONDO prepare - -o c.h5 -t bytes <&-"), 3) << "and does not read from its own files";
  EXPECT_NE(error().find("standard input: reading failed at byte 0"), std::string::npos) << error();
}

// A pipe holds 64 KiB and a block has 256 KiB: the corpus does not depend on what fits into them.
TEST_F(PrepareProgram, MakesTheSameCorpusFromAFileAPipeAndGzip) {
  const auto corpus_of = [&](const std::string& line) {
    EXPECT_EQ(run(line + " -o c.h5 -t bytes --validation 0"), 0) << line << ": " << error();
    const TokenCorpus corpus(path("c.h5"));
    return std::to_string(corpus.num_documents(Split::Train)) + " " + all_text(corpus, Split::Train);
  };
  for (const std::size_t length : {std::size_t{65535}, std::size_t{65537}, ByteStream::kBlockBytes + 1}) {
    const std::string text(length, 'a'),
        lines = "{\"id\": \"" + text + "\", \"text\": \"one\"}\n{\"text\": \"" + text + "\"}\n";
    for (const std::string& content : {lines, ">" + text + " x\n" + text + "\n>b\nACGT\n"}) {
      if (content.front() == '>' && length > 65536) continue;  // no name is so long
      write("input", content);
      const std::string whole = corpus_of("$RONDO prepare input");
      EXPECT_EQ(whole.front(), '2');
      EXPECT_TRUE(corpus_of("cat input | $RONDO prepare -") == whole) << length;
      EXPECT_TRUE(corpus_of("gzip -kf input; $RONDO prepare input.gz") == whole) << length;
      EXPECT_TRUE(corpus_of("gzip -c input | $RONDO prepare -") == whole) << length;
      EXPECT_TRUE(corpus_of("$RONDO prepare - < input") == whole) << length;
    }
  }
}

TEST_F(PrepareProgram, SaysInADryRunWhatEachInputWouldBeReadAs) {
  write("in/a.txt", "text");
  write("in/b.txt", "{\"text\": \"a\"}\n");
  write("in/c.h5", "\x89HDF\r\n\x1a\n");
  write("c.zst", "\x28\xb5\x2f\xfd");
  ASSERT_EQ(run("printf '>a\\nACGT\\n' | gzip | $RONDO prepare in - --dry-run"), 0) << error();
  EXPECT_EQ(read("out"),
            "in/a.txt: text (neither JSON lines nor FASTA)\n"
            "in/b.txt: JSON lines (the first line is a JSON object with the member text)\n"
            "in/c.h5: left out (it is an HDF5 file, as corpora of Rondo are)\n"
            "standard input: FASTA (the first line begins with '>', and sequence letters follow), gzip\n"
            "3 inputs to read, 0.0 MB: 1 text, 1 JSON lines, 1 FASTA; 1 left out, 0 refused\n");
  EXPECT_EQ(error(), "");
  EXPECT_EQ(run("$RONDO prepare in c.zst --dry-run --json -o x.h5 -t bytes"), 3);
  const auto document = nlohmann::json::parse(read("out"));
  EXPECT_EQ(document["inputs"].size(), 4u);
  EXPECT_EQ(document["inputs"][1]["format"], "jsonl");
  EXPECT_EQ(document["inputs"][2]["use"], "left out");
  EXPECT_EQ(document["inputs"][3]["use"], "refused");
  EXPECT_EQ(document["read"], 2);
  EXPECT_EQ(document["refused"], 1);
  EXPECT_NE(error().find("zstd -d c.zst"), std::string::npos) << error();
  EXPECT_EQ(run("$RONDO prepare in --dry-run --format fasta"), 0) << error();
  EXPECT_EQ(read("out").find("in/a.txt: FASTA (--format says so)\n"), 0u) << read("out");
  EXPECT_EQ(run("$RONDO prepare in -t bytes"), 2) << "--output is required";
  EXPECT_FALSE(std::filesystem::exists(path("x.h5")));
}

TEST_F(PrepareProgram, WarnsOfWhatItPassesOver) {
  write("in/a.txt", "text");
  write("in/b.h5", "\x89HDF\r\n\x1a\n");
  ASSERT_EQ(run("(gzip -c in/a.txt; printf more) > a.gz; $RONDO prepare in a.gz -o c.h5 -t bytes --json"), 0)
      << error();
  EXPECT_EQ(nlohmann::json::parse(read("out"))["left_out"], 1);
  EXPECT_NE(error().find("left out: in/b.h5 (it is an HDF5 file"), std::string::npos) << error();
  EXPECT_NE(error().find("4 bytes after the last gzip member are ignored"), std::string::npos) << error();
}

TEST_F(PrepareProgram, SaysEverythingInUtf8) {
  write("caf\xe9.jsonl", "{\"text\": \"caf\xe9 \x1b[31m\"}\n");
  write("b.jsonl", std::string("{\"text\": \xff\xfe\x1b]0;title\x07}\n"));
  write("c.fa", ">x\nACGT\xe9\n");
  for (const char* line :
       {"caf\xe9.jsonl", "b.jsonl", "c.fa", "no\xff", "b.jsonl --format caf\xe9", "caf\xe9.jsonl -t tok\xe9"}) {
    EXPECT_GE(run(std::string("$RONDO prepare -o c.h5 -t bytes ") + line), 2);
    EXPECT_TRUE(is_utf8(error())) << line << ": " << shown_as_utf8(error());
    EXPECT_EQ(error().find('\x1b'), std::string::npos) << line << ": " << shown_as_utf8(error());
    EXPECT_EQ(error().find("rondo: "), 0u) << line << ": " << shown_as_utf8(error());
  }
}

TEST_F(PrepareProgram, SaysTheSameInJson) {
  write("a.txt", std::string(900, 'a') + std::string(100, 'b'));
  ASSERT_EQ(run("$RONDO prepare a.txt -o c.h5 -t bytes --validation 0.1 --json"), 0) << error();
  const auto made = nlohmann::json::parse(read("out"));
  EXPECT_EQ(made["train"]["tokens"], 900);
  EXPECT_EQ(made["validation_rule"], "the last part of each document");
  ASSERT_EQ(run("$RONDO corpus info c.h5 --baselines --json"), 0) << error();
  const auto info = nlohmann::json::parse(read("out"));
  EXPECT_EQ(info["validation"]["tokens"], 100);
  EXPECT_EQ(info["baselines"].size(), 3u);
  EXPECT_EQ(info["tokenizer_digest"], made["tokenizer_digest"]);
  ASSERT_EQ(run("$RONDO corpus verify c.h5 --json"), 0) << error();
  EXPECT_EQ(nlohmann::json::parse(read("out"))["valid"], true);
}

TEST_F(PrepareProgram, EndsWithThreeForDataAndTwoForUsage) {
  write("bad.jsonl", "{\"text\": \"a\"}\nnonsense\n");
  EXPECT_EQ(run("$RONDO prepare bad.jsonl -o c.h5 -t bytes"), 3);
  EXPECT_NE(error().find("bad.jsonl:2"), std::string::npos) << error();
  EXPECT_EQ(run("$RONDO prepare missing -o c.h5 -t bytes"), 3);
  EXPECT_EQ(run("$RONDO prepare bad.jsonl -o c.h5 -t words"), 2);
  EXPECT_EQ(run("$RONDO prepare bad.jsonl -o c.h5 -t bytes --format xml"), 2);
  EXPECT_EQ(run("$RONDO prepare bad.jsonl -o c.h5 -t bytes --validation 0.9"), 2);
  EXPECT_EQ(run("$RONDO prepare bad.jsonl -o c.h5"), 2);
  EXPECT_EQ(run("$RONDO corpus verify bad.jsonl"), 3);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "c.h5"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "c.h5.partial"));
}

TEST_F(PrepareProgram, ReplacesACorpusAndNothingElse) {
  write("a.txt", "some text");
  write("notes.txt", "the user's own");
  EXPECT_EQ(run("$RONDO prepare a.txt -o notes.txt -t bytes"), 3);
  EXPECT_NE(error().find("give another --output"), std::string::npos) << error();
  EXPECT_EQ(read("notes.txt"), "the user's own");
  EXPECT_EQ(run("touch c.h5; $RONDO prepare a.txt -o c.h5 -t bytes --validation 0"), 0) << error();
  EXPECT_EQ(run("$RONDO prepare notes.txt -o c.h5 -t bytes --validation 0"), 0) << error();
  ASSERT_EQ(run("$RONDO corpus sample c.h5"), 0);
  EXPECT_EQ(read("out"), "the user's own\n");
}

TEST_F(PrepareProgram, TakesListsOfIdsForTheTokenizerIdsOnly) {
  write("a.jsonl", "{\"text\": [3, 1]}\n");
  EXPECT_EQ(run("$RONDO prepare a.jsonl -o c.h5 -t bytes"), 3);
  EXPECT_NE(error().find("a.jsonl:1: the member \"text\" is a list of integers"), std::string::npos) << error();
  EXPECT_EQ(run("$RONDO prepare a.jsonl -o c.h5 -t ids --vocabulary 4 --validation 0"), 0) << error();
}

TEST_F(PrepareProgram, EndsWithThreeForACorruptCorpusAndNamesTheDataset) {
  write("a.txt", "something to find again");
  ASSERT_EQ(run("$RONDO prepare a.txt -o c.h5 -t bytes --validation 0"), 0) << error();
  std::string corpus = read("c.h5");
  corpus[corpus.find("something to find")] = 'S';
  write("c.h5", corpus);
  EXPECT_EQ(run("$RONDO corpus verify c.h5"), 3);
  EXPECT_NE(error().find("damaged in train/tokens"), std::string::npos) << error();
}

// The writer is given a pipe that stays open, so that the kill finds it in the middle, with something written.
TEST_F(PrepareProgram, LeavesOnlyAPartialFileWhenKilled) {
  for (const std::size_t num_bytes : {std::size_t{0}, std::size_t{1000}, std::size_t{3} << 20}) {
    int ends[2];
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    const ::pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      ::dup2(ends[0], STDIN_FILENO);
      const int nowhere = ::open("/dev/null", O_WRONLY);
      ::dup2(nowhere, STDOUT_FILENO);
      ::dup2(nowhere, STDERR_FILENO);
      const std::string output = path("c.h5");
      ::execl(program().c_str(), "rondo", "prepare", "-", "-o", output.c_str(), "-t", "bytes", "--validation", "0",
              nullptr);
      ::_exit(127);
    }
    ::close(ends[0]);
    std::string text(num_bytes, 'a');
    for (std::size_t sent = 0; sent < num_bytes;) {  // returns only when the program has taken all but a pipe's fill
      const ::ssize_t count = ::write(ends[1], text.data() + sent, num_bytes - sent);
      ASSERT_GT(count, 0);
      sent += static_cast<std::size_t>(count);
    }
    ::kill(child, SIGKILL);
    int status = 0;
    ::waitpid(child, &status, 0);
    ::close(ends[1]);
    ASSERT_TRUE(WIFSIGNALED(status));
    EXPECT_FALSE(std::filesystem::exists(path("c.h5")));
    for (const std::string& name : files_left()) {
      EXPECT_EQ(name, "c.h5.partial");
      EXPECT_NE(complaint([&] { TokenCorpus(path(name)); }), "accepted");
    }
  }
  write("a.txt", "text");
  ASSERT_EQ(run("$RONDO prepare a.txt -o c.h5 -t bytes"), 0) << error();
  EXPECT_EQ(files_left(), (std::vector<std::string>{"a.txt", "c.h5", "err", "out"}));
}

TEST_F(PrepareProgram, RemovesItsFileWhenItIsTerminated) {
  // the reader of the pipe is asked to stop before the pipe ends, which must not look like the end of the input
  const std::string line =
      "mkfifo pipe; $RONDO prepare pipe -o c.h5 -t bytes & pid=$!; exec 3>pipe; head -c 3000000 /dev/zero >&3;"
      "kill -TERM $pid; exec 3>&-; wait $pid";
  EXPECT_EQ(run(line), 128 + SIGTERM) << error();
  EXPECT_NE(error().find("stopped by a signal, nothing was written"), std::string::npos) << error();
  EXPECT_FALSE(std::filesystem::exists(path("c.h5")));
  EXPECT_FALSE(std::filesystem::exists(path("c.h5.partial")));
}

// What is written into the first pipe is taken before the signal is sent. Then the program waits for more, or for a pipe that
// nobody ever opens, and only the signal can end that.
TEST_F(PrepareProgram, StopsWhileAPipeSaysNothing) {
  const std::string fill = "exec 3>a; head -c 3000000 /dev/zero >&3; ";
  for (const auto& [name, number] :
       std::vector<std::pair<std::string, int>>{{"INT", SIGINT}, {"TERM", SIGTERM}, {"HUP", SIGHUP}}) {
    for (const std::string& program : {"$RONDO prepare - -o c.h5 -t bytes < a & pid=$!; " + fill,
                                       "$RONDO prepare a silent -o c.h5 -t bytes & pid=$!; " + fill + "exec 3>&-; ",
                                       "$RONDO prepare a silent --dry-run & pid=$!; " + fill + "exec 3>&-; "}) {
      EXPECT_EQ(run("rm -f a silent; mkfifo a silent; trap '' PIPE; " + program + "kill -" + name + " $pid; wait $pid"),
                128 + number)
          << program << error();
      EXPECT_NE(error().find("stopped by a signal, nothing was written"), std::string::npos) << error();
      EXPECT_FALSE(std::filesystem::exists(path("c.h5")));
      EXPECT_FALSE(std::filesystem::exists(path("c.h5.partial")));
    }
  }
}

TEST_F(PrepareProgram, EndsWithThreeOnAFullDiskWhereverItFills) {
  write("a.txt", std::string(3'000'000, 'a'));
  for (const int blocks : {1, 8, 100, 1000, 1500, 2900}) {  // of 512 bytes: a file size limit fails like a full disk
    for (const char* validation : {"0", "0.02"}) {
      const std::string limit = "ulimit -f " + std::to_string(blocks) + "; ";
      EXPECT_EQ(run(limit + "$RONDO prepare a.txt -o c.h5 -t bytes --validation " + validation), 3)
          << blocks << ": " << error();
      EXPECT_FALSE(std::filesystem::exists(path("c.h5")));
      EXPECT_FALSE(std::filesystem::exists(path("c.h5.partial")));
    }
  }
}

}  // namespace
}  // namespace rondo::test

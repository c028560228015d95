// SPDX-License-Identifier: Apache-2.0
// The commands as a user runs them: exit codes, pipes, kill -9 at any moment, a full disk.
#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

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

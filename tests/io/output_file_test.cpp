// SPDX-License-Identifier: Apache-2.0
#include "io/output_file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "io/hdf5_file.hpp"
#include "tests/io/corpus_files.hpp"

namespace rondo::test {
namespace {

namespace fs = std::filesystem;

/// As HDF5 locks a file that it writes to.
struct Lock {
  explicit Lock(const std::string& file) : descriptor(::open(file.c_str(), O_RDWR | O_CLOEXEC)) {
    EXPECT_EQ(::flock(descriptor, LOCK_EX | LOCK_NB), 0);
  }
  ~Lock() { ::close(descriptor); }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

  const int descriptor;
};

class OutputFileTest : public CorpusFiles {
 protected:
  OutputRequest request(const std::string& name, const std::vector<std::string>& inputs = {}) const {
    return {.path = name, .option = "--out", .kind = hdf5_kind("a test's file", "test"), .inputs = inputs};
  }
  std::string complaint_about(const std::string& name, const std::vector<std::string>& inputs = {}) const {
    return complaint([&] { OutputFile output(request(name, inputs)); });
  }
  /// A file of the kind that the outputs of these tests have, or of another.
  std::string write_hdf5(const std::string& name, const std::string& format, std::int64_t value = 0) const {
    fill(path(name), format, value);
    return path(name);
  }
  static void fill(const fs::path& file_path, const std::string& format, std::int64_t value = 0) {
    Hdf5File file = Hdf5File::create(file_path);
    file.write_attribute("/", "format", format);
    file.write_attribute("/", "value", value);
    file.close();
  }
  static std::int64_t value_in(const std::string& file) {
    return Hdf5File::open(file).read_integer_attribute("/", "value");
  }
  void expect_refused(const std::string& name, const std::string& why, const std::vector<std::string>& inputs = {}) {
    EXPECT_NE(complaint_about(name, inputs).find(why), std::string::npos) << complaint_about(name, inputs);
  }
};

TEST_F(OutputFileTest, TakesANewNameAndLeavesNothingUntilItIsBegun) {
  OutputFile output(request(path("new.h5")));
  EXPECT_EQ(files_left(), std::vector<std::string>{});
  EXPECT_EQ(output.begin(), path("new.h5") + ".partial");
  fill(output.partial(), "test", 1);
  EXPECT_EQ(files_left(), std::vector<std::string>{"new.h5.partial"});
  output.commit();
  EXPECT_EQ(files_left(), std::vector<std::string>{"new.h5"});
  EXPECT_EQ(value_in(path("new.h5")), 1);
}

TEST_F(OutputFileTest, ReplacesItsOwnKindAndEmptyFiles) {
  for (const std::string& there : {write_hdf5("own.h5", "test"), write("empty.h5", "")}) {
    OutputFile output(request(there));
    fill(output.begin(), "test", 2);
    output.commit();
    EXPECT_EQ(value_in(there), 2);
  }
}

TEST_F(OutputFileTest, RemovesTheUnfinishedFileWithoutCommit) {
  {
    OutputFile output(request(path("new.h5")));
    output.begin();
    const OutputFile moved(std::move(output));
    EXPECT_EQ(files_left(), std::vector<std::string>{"new.h5.partial"});
  }
  EXPECT_EQ(files_left(), std::vector<std::string>{});
}

TEST_F(OutputFileTest, RefusesFilesOfAnotherKind) {
  expect_refused(write("thesis.tex", "mine"), "exists and is not a test's file, so it is not replaced");
  expect_refused(write_hdf5("other.h5", "another"), "is not a test's file");
  Hdf5File::create(path("plain.h5")).close();
  expect_refused(path("plain.h5"), "is not a test's file");
  EXPECT_EQ(read("thesis.tex"), "mine");
}

TEST_F(OutputFileTest, RefusesItsInputsByWhateverName) {
  const std::string input = write_hdf5("input.h5", "test");
  fs::create_symlink(input, path("link.h5"));
  fs::create_hard_link(input, path("hard.h5"));
  for (const char* name : {"input.h5", "link.h5", "hard.h5"}) {
    expect_refused(path(name), "is input and output at once", {path("missing"), "-", input});
    expect_refused(input, "is input and output at once", {path(name)});
  }
  fs::create_directory(path("folder"));
  expect_refused(path("folder/../input.h5"), "is input and output at once", {input});
}

TEST_F(OutputFileTest, RefusesAnInputThatHasTheNameOfTheUnfinishedFile) {
  const std::string input = write_hdf5("new.h5.partial", "test", 3);
  expect_refused(path("new.h5"), "is input and output at once", {input});
  EXPECT_EQ(value_in(input), 3);
}

TEST_F(OutputFileTest, RefusesFoldersPipesSocketsAndDevices) {
  fs::create_directory(path("folder"));
  expect_refused(path("folder"), "is a folder");
  expect_refused(path("folder/"), "names a folder");
  expect_refused(path("none/"), "names a folder");
  ASSERT_EQ(::mkfifo(path("pipe").c_str(), 0600), 0);
  expect_refused(path("pipe"), "is a pipe");
  fs::create_symlink("pipe", path("to_pipe"));
  expect_refused(path("to_pipe"), "is a pipe");
  ::sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  path("socket").copy(address.sun_path, sizeof(address.sun_path) - 1);
  const int socket = ::socket(AF_UNIX, SOCK_STREAM, 0);
  ASSERT_EQ(::bind(socket, reinterpret_cast<const ::sockaddr*>(&address), sizeof(address)), 0);
  expect_refused(path("socket"), "is a socket");
  ::close(socket);
  expect_refused("/dev/null", "is a device");
  fs::create_symlink("/dev/null", path("to_device"));
  expect_refused(path("to_device"), "is a device");
  EXPECT_TRUE(fs::is_symlink(path("to_device")));
}

TEST_F(OutputFileTest, RefusesNamesThatCannotBe) {
  EXPECT_THROW(OutputFile(request("")), ConfigError);
  expect_refused("", "--out: names no file");
  expect_refused(path(std::string(300, 'n')), "the name is too long");
  expect_refused(path(std::string(250, 'n')), "too long with the ending .partial");
  expect_refused(path(std::string(5000, 'n')), "the name is too long");
  expect_refused(path("no/such/folder.h5"), "the folder does not exist");
  expect_refused(write("text", "text") + "/x.h5", "no folder");
  fs::create_symlink("self", path("self"));
  expect_refused(path("self"), "is a link that leads back to itself");
  EXPECT_EQ(files_left(), (std::vector<std::string>{"self", "text"}));
}

TEST_F(OutputFileTest, RefusesAFolderWhereNoFileCanBeMade) {
  expect_refused("/proc/new.h5", "the file cannot be made");
  if (::geteuid() == 0) return;  // for whom every folder is writable
  fs::create_directory(path("shut"));
  fs::permissions(path("shut"), fs::perms::owner_read | fs::perms::owner_exec);
  expect_refused(path("shut/new.h5"), "Permission denied");
}

TEST_F(OutputFileTest, WritesThroughLinksAndLeavesThem) {
  fs::create_directory(path("far"));
  fs::create_symlink("far/data.h5", path("to_nothing.h5"));
  fs::create_symlink("to_nothing.h5", path("link.h5"));
  for (const std::int64_t value : {1, 2}) {
    OutputFile output(request(path("link.h5")));
    EXPECT_TRUE(output.partial().string().ends_with("far/data.h5.partial"));
    fill(output.begin(), "test", value);
    output.commit();
    EXPECT_EQ(value_in(path("far/data.h5")), value);
    EXPECT_TRUE(fs::is_symlink(path("link.h5")));
  }
}

TEST_F(OutputFileTest, RemovesWhatAKilledProgramLeftAndNothingElse) {
  const std::string leftover = "new.h5.partial";
  for (const std::string& content :
       {std::string(), std::string("\x89HDF\r\n\x1a\nhalf", 12), std::string(4096, '\0')}) {
    write(leftover, content);
    EXPECT_EQ(complaint_about(path("new.h5")), "accepted");
    EXPECT_EQ(files_left(), std::vector<std::string>{});
  }
  write(leftover, "a download that is not done");
  expect_refused(path("new.h5"), "no killed program has left it");
  EXPECT_EQ(read(leftover), "a download that is not done");
  fs::remove(path(leftover));
  fs::create_symlink(write("elsewhere", ""), path(leftover));
  expect_refused(path("new.h5"), "no killed program has left it");
}

TEST_F(OutputFileTest, RefusesWhatCameToItsNameDuringTheWork) {
  OutputFile output(request(path("new.h5")));
  fill(output.begin(), "test", 4);
  write("new.h5", "written by somebody meanwhile");
  const std::string said = complaint([&] { output.commit(); });
  EXPECT_NE(said.find("is kept as " + path("new.h5.partial")), std::string::npos) << said;
  EXPECT_EQ(read("new.h5"), "written by somebody meanwhile");
  EXPECT_EQ(value_in(path("new.h5.partial")), 4);
}

TEST_F(OutputFileTest, LeavesTheUnfinishedFileOfAnotherProgram) {
  OutputFile first(request(path("new.h5")));
  fill(first.begin(), "test", 1);
  {
    OutputFile second(request(path("new.h5")));
    fill(second.begin(), "test", 2);
    const std::string said = complaint([&] { first.commit(); });
    EXPECT_NE(said.find("was replaced by another program"), std::string::npos) << said;
    first.discard();
    second.commit();
  }
  EXPECT_EQ(value_in(path("new.h5")), 2);
}

TEST_F(OutputFileTest, SaysThatThereIsNoRoom) {
  const OutputFile output(request(path("new.h5")));
  output.require_room(1);
  EXPECT_NE(complaint([&] { output.require_room(std::int64_t{1} << 60); }).find("there is not enough room"),
            std::string::npos);
  ::rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  ::rlimit small = before;
  small.rlim_cur = 4096;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string said = complaint([&] { output.require_room(4097); });
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_NE(said.find("ulimit -f"), std::string::npos) << said;
}

TEST_F(OutputFileTest, SaysThatAnotherProgramHasItOpen) {
  const std::string there = write_hdf5("own.h5", "test");
  const Lock lock(there);
  expect_refused(there, "another program holds the file open for writing");
}

}  // namespace
}  // namespace rondo::test

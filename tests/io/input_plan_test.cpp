// SPDX-License-Identifier: Apache-2.0
// Which files a command line names: folders with links, hidden files, old corpora and other things in them.
#include "io/input_plan.hpp"

#include <array>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/io/corpus_files.hpp"

namespace rondo::test {
namespace {

class InputPlans : public CorpusFiles {
 protected:
  std::vector<PlannedInput> plan(const std::vector<std::string>& inputs, std::optional<InputFormat> format = {}) const {
    return plan_inputs({.inputs = inputs, .output = path("corpus.h5"), .format = format});
  }
  /// "name: read" or "name: why it is not", a line each, in order.
  std::string summary(const std::vector<PlannedInput>& inputs) const {
    std::string lines;
    for (const PlannedInput& input : inputs) {
      const std::string name = std::filesystem::path(input.path).lexically_relative(folder_).string();
      constexpr std::array<const char*, 3> kUses{"read", "left out, ", "refused, "};
      lines += name + ": " + kUses[static_cast<std::size_t>(input.use)];
      lines += (input.use == InputUse::Read ? "" : input.why) + "\n";
    }
    return lines;
  }
  std::string refusal(const std::vector<std::string>& inputs) const {
    return complaint([&] { expect_none_refused(plan(inputs)); });
  }
  void link(const std::string& target, const std::string& name) const {
    std::filesystem::create_symlink(target, folder_ / name);
  }
};

TEST_F(InputPlans, SayOfEverythingInAFolderWhatBecomesOfIt) {
  write("in/a.txt", "text");
  write("in/b/deep.md", "text");
  write("in/.git/config", "hidden");
  write("in/._a.txt", "hidden");
  write("in/old.h5", "\x89HDF\r\n\x1a\n");
  write("in/photo", "\x89PNG\r\n\x1a\n");
  write("in/object", std::string("a\0b", 3));
  write("in/c.h5.partial", "half");
  write("elsewhere/x.txt", "text");
  link("self", "in/self");
  link("nowhere", "in/to_nothing");
  link("../elsewhere", "in/to_folder");
  link("../elsewhere/x.txt", "in/to_file");
  ASSERT_EQ(::mkfifo(path("in/pipe").c_str(), 0600), 0);
  EXPECT_EQ(summary(plan({path("in")})),
            "in/._a.txt: left out, it is hidden\n"
            "in/.git: left out, it is hidden\n"
            "in/a.txt: read\n"
            "in/b/deep.md: read\n"
            "in/c.h5.partial: left out, it is an unfinished output\n"
            "in/object: left out, there are NUL bytes among its first 8000, as in no text\n"
            "in/old.h5: left out, it is an HDF5 file, as corpora of Rondo are\n"
            "in/photo: left out, it is a PNG image\n"
            "in/pipe: left out, it is no file\n"
            "in/self: left out, it is a broken link\n"
            "in/to_file: read\n"
            "in/to_folder: left out, it is a link to a folder\n"
            "in/to_nothing: left out, it is a broken link\n");
  const auto warnings = warnings_of(plan({path("in")}));
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_EQ(warnings[0], "left out: " + path("in/._a.txt") + " (it is hidden), " + path("in/.git") +
                             " (it is hidden), " + path("in/c.h5.partial") +
                             " (it is an unfinished output) and 7 more, which --dry-run names");
}

TEST_F(InputPlans, RefuseWhatIsNamedAndCannotBeRead) {
  write("in/a.txt", "text");
  write("c.zst", "\x28\xb5\x2f\xfd");
  link("self", "self");
  link("in", "to_folder");
  EXPECT_EQ(refusal({path("missing")}), path("missing") + ": no such file or folder");
  EXPECT_EQ(refusal({path("self")}), path("self") + ": is a broken link");
  EXPECT_EQ(refusal({path("c.zst")}), path("c.zst") +
                                          ": it is compressed with zstd\n  turn it into text first: zstd -d " +
                                          path("c.zst") + "; --format text takes its bytes as they are");
  EXPECT_NE(
      refusal({path("c.zst"), path("in"), path("missing")}).find("\n  also refused: 1 more, which --dry-run names"),
      std::string::npos);
  EXPECT_NE(refusal({path(std::string(300, 'n'))}).find("cannot be opened: File name too long"), std::string::npos);
  EXPECT_EQ(summary(plan({path("to_folder")})), "to_folder/a.txt: read\n") << "a named link is followed";
  EXPECT_EQ(summary(plan({path("c.zst")}, InputFormat::Text)), "c.zst: read\n") << "--format decides";
}

TEST_F(InputPlans, RefuseAFolderWithoutInputs) {
  std::filesystem::create_directory(path("hollow"));
  EXPECT_EQ(refusal({path("hollow")}), path("hollow") + ": the folder has no files");
  write("packed/c.zst", "\x28\xb5\x2f\xfd");
  EXPECT_EQ(refusal({path("packed")}),
            path("packed") + ": the folder has no files that can be read\n  --dry-run says what they are");
}

TEST_F(InputPlans, NameAFileThatMayNotBeRead) {
  write("in/a.txt", "text");
  write("in/secret/b.txt", "text");
  ::chmod(path("").c_str(), 0755);
  ::chmod(path("in/a.txt").c_str(), 0);
  ::chmod(path("in/secret").c_str(), 0);
  constexpr ::uid_t kNobody = 65534;
  const bool is_root = ::geteuid() == 0;  // who may read everything
  if (is_root) {
    ASSERT_EQ(::seteuid(kNobody), 0);
  }
  const std::string said = summary(plan({path("in")}));
  if (is_root) {
    ASSERT_EQ(::seteuid(0), 0);
  }
  ::chmod(path("in/secret").c_str(), 0700);
  EXPECT_EQ(said,
            "in/a.txt: refused, cannot be opened: Permission denied\n"
            "in/secret: refused, cannot be listed: Permission denied\n");
}

TEST_F(InputPlans, LeaveTheOutputOutOfItsFolderAndRefuseItByName) {
  write("in/a.txt", "text");
  write("in/out.h5", "an old corpus");
  write("in/out.h5.partial", "half of one");
  EXPECT_EQ(summary(plan_inputs({.inputs = {path("in")}, .output = path("in/out.h5")})), "in/a.txt: read\n");
  EXPECT_EQ(complaint([&] {
              expect_none_refused(plan_inputs({.inputs = {path("in/out.h5")}, .output = path("in/out.h5")}));
            }),
            path("in/out.h5") + ": is input and output at once\n  write to another --output");
}

TEST_F(InputPlans, DoubtWhatMayBeSomethingElse) {
  write("a.json", "[{\"text\": \"a\"}]\n");
  write("b.bin", std::string("a\0b", 3));
  const auto warnings = warnings_of(plan({path("a.json"), path("b.bin")}));
  ASSERT_EQ(warnings.size(), 2u);
  EXPECT_EQ(warnings[0].find(path("a.json") + " begins as one JSON array of objects"), 0u) << warnings[0];
  EXPECT_EQ(warnings[1],
            path("b.bin") + " is read as text although there are NUL bytes among its first 8000, as in no text");
}

TEST_F(InputPlans, ShowNamesThatAreNoUtf8) {
  const std::string name = path("caf\xe9.zst");
  write("caf\xe9.zst", "\x28\xb5\x2f\xfd");
  EXPECT_EQ(refusal({name}).find(path("caf\\xe9.zst") + ": it is compressed with zstd"), 0u) << refusal({name});
}

}  // namespace
}  // namespace rondo::test

// SPDX-License-Identifier: Apache-2.0
// The HDF5 wrappers without MPI: what is written is read back, failures carry HDF5's own text, foreign tricks are refused.
#include "io/hdf5_file.hpp"

#include <cstdlib>
#include <fstream>
#include <gtest/gtest.h>
#include <numeric>
#include <unistd.h>

namespace rondo::test {
namespace {

class Hdf5Files : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "rondo-hdf5-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  /// Runs a Python program that sees the folder's files and h5py as h.
  void python(const std::string& program) const {
    std::ofstream(folder_ / "make.py") << "import h5py as h, numpy as np\n" << program << "\n";
    const std::string command = "cd '" + folder_.string() + "' && /usr/bin/python3 make.py";
    ASSERT_EQ(std::system(command.c_str()), 0) << program;
  }
  std::string refusal(const std::string& file) const {
    try {
      Hdf5File::open(folder_ / file);
    } catch (const DataError& error) {
      return error.what();
    }
    return "accepted";
  }

  std::filesystem::path folder_;
};

template <typename T> void round_trip(const std::filesystem::path& path) {
  std::vector<T> values(3000);
  std::iota(values.begin(), values.end(), T(1));
  auto file = Hdf5File::create(path);
  Hdf5Dataset dataset =
      file.create_dataset("a/b/values", hdf5_type_of<T>, {0}, {.chunk_rows = 128, .unlimited_rows = true});
  dataset.append<T>(std::span<const T>(values).first(1000));
  dataset.append<T>(std::span<const T>(values).subspan(1000));
  dataset.close();
  file.close();
  const auto reopened = Hdf5File::open(path);
  const auto read = reopened.open_dataset("a/b/values");
  EXPECT_EQ(read.type(), hdf5_type_of<T>);
  EXPECT_EQ(read.chunk_rows(), 128);
  EXPECT_EQ(read.read_all<T>(), values);
  std::vector<T> middle(7);
  read.read<T>({995, 7}, middle);
  EXPECT_EQ(middle, std::vector<T>(values.begin() + 995, values.begin() + 1002));
}

TEST_F(Hdf5Files, ReturnsAppendedRowsOfEveryElementType) {
  round_trip<std::uint8_t>(folder_ / "u8.h5");
  round_trip<std::uint16_t>(folder_ / "u16.h5");
  round_trip<std::uint32_t>(folder_ / "u32.h5");
  round_trip<std::int64_t>(folder_ / "i64.h5");
  round_trip<float>(folder_ / "f32.h5");
  round_trip<double>(folder_ / "f64.h5");
}

TEST_F(Hdf5Files, WritesAndReadsRowsOfMatricesThroughDeflate) {
  auto file = Hdf5File::create(folder_ / "m.h5");
  auto dataset = file.create_dataset("m", Hdf5Type::Fp64, {5, 3}, {.chunk_rows = 2, .deflate_level = 4});
  std::vector<double> all(15);
  std::iota(all.begin(), all.end(), 0.5);
  const RowRange rows[] = {{0, 2}, {3, 2}};
  std::vector<double> outer(all.begin(), all.begin() + 6);
  outer.insert(outer.end(), all.begin() + 9, all.end());
  dataset.write_rows(rows, outer.data(), 12, Hdf5Type::Fp64);
  dataset.write<double>({2, 1}, std::span<const double>(all).subspan(6, 3));
  dataset.close();
  file.close();
  const auto reopened = Hdf5File::open(folder_ / "m.h5");
  EXPECT_EQ(reopened.open_dataset("m").read_all<double>(), all);
  std::vector<float> narrowed(3);
  reopened.open_dataset("m").read<float>({4, 1}, narrowed);
  EXPECT_EQ(narrowed[2], 14.5F);
}

TEST_F(Hdf5Files, KeepsTextAndAttributes) {
  const std::string long_text(3'000'000, 'x');
  auto file = Hdf5File::create(folder_ / "t.h5");
  file.write_text("long", long_text);
  file.write_text("empty", "");
  file.write_attribute("/", "kind", std::string("corpus"));
  file.write_attribute("long", "version", std::int64_t{-7});
  file.close();
  const auto reopened = Hdf5File::open(folder_ / "t.h5");
  EXPECT_EQ(reopened.read_text("long"), long_text);
  EXPECT_EQ(reopened.read_text("empty"), "");
  EXPECT_EQ(reopened.read_text_attribute("/", "kind"), "corpus");
  EXPECT_EQ(reopened.read_integer_attribute("long", "version"), -7);
  EXPECT_FALSE(reopened.has_attribute("/", "version"));
  EXPECT_THROW(reopened.read_integer_attribute("/", "kind"), DataError);
  EXPECT_THROW(reopened.read_text_attribute("/", "other"), DataError);
  EXPECT_EQ(reopened.dataset_names(), (std::vector<std::string>{"empty", "long"}));
}

TEST_F(Hdf5Files, IsReadByPythonAndReadsPythonsFiles) {
  auto file = Hdf5File::create(folder_ / "ours.h5");
  const std::vector<std::int64_t> values{3, -1, 4};
  auto dataset = file.create_dataset("train/documents", Hdf5Type::Int64, {3}, {.chunk_rows = 1000});
  dataset.write<std::int64_t>({0, 3}, values);
  dataset.close();
  file.write_attribute("/", "tokenizer", std::string("dna"));
  file.close();
  python(R"(
with h.File("ours.h5", "r") as f:
    assert list(f["train/documents"][:]) == [3, -1, 4] and f["train/documents"].fletcher32
    assert f.attrs["tokenizer"] in ("dna", b"dna"), f.attrs["tokenizer"]
with h.File("theirs.h5", "w") as f:
    f["q"] = np.arange(6.0).reshape(2, 3)
    f.attrs["text"] = "caf\u00e9"
    f.attrs["number"] = 12
)");
  const auto theirs = Hdf5File::open(folder_ / "theirs.h5");
  EXPECT_EQ(theirs.open_dataset("q").extents(), (std::vector<std::int64_t>{2, 3}));
  EXPECT_EQ(theirs.open_dataset("q").read_all<double>().back(), 5.0);
  EXPECT_EQ(theirs.read_text_attribute("/", "text"), "caf\u00e9");
  EXPECT_EQ(theirs.read_integer_attribute("/", "number"), 12);
}

TEST_F(Hdf5Files, RefusesWhatReachesOutsideOfTheFile) {
  python(R"(
h.File("other.h5", "w")["x"] = np.arange(4)
h.File("external_link.h5", "w")["x"] = h.ExternalLink("other.h5", "/x")
h.File("soft_link.h5", "w")["x"] = h.SoftLink("/nowhere")
layout = h.VirtualLayout(shape=(4,), dtype="i8"); layout[:] = h.VirtualSource("other.h5", "x", shape=(4,))
h.File("virtual.h5", "w", libver="latest").create_virtual_dataset("x", layout)
open("raw", "wb").write(b"0123456789abcdef")
h.File("external_storage.h5", "w").create_dataset("x", shape=(2,), dtype="i8", external=[("raw", 0, 16)])
h.File("strange_filter.h5", "w").create_dataset("g/x", data=np.arange(4), compression="lzf", chunks=(4,))
h.File("variable.h5", "w").create_dataset("x", data=["a"], dtype=h.string_dtype())
with h.File("committed.h5", "w") as f: f["t"] = np.dtype("f8")
open("text.h5", "w").write("this is not HDF5")
)");
  EXPECT_NE(refusal("external_link.h5").find("link to another file"), std::string::npos) << refusal("external_link.h5");
  EXPECT_NE(refusal("soft_link.h5").find("soft"), std::string::npos) << refusal("soft_link.h5");
  EXPECT_NE(refusal("virtual.h5").find("virtual"), std::string::npos) << refusal("virtual.h5");
  EXPECT_NE(refusal("external_storage.h5").find("another file"), std::string::npos) << refusal("external_storage.h5");
  EXPECT_NE(refusal("strange_filter.h5").find("filter 32000"), std::string::npos) << refusal("strange_filter.h5");
  EXPECT_NE(refusal("strange_filter.h5").find("g/x"), std::string::npos) << refusal("strange_filter.h5");
  EXPECT_NE(refusal("variable.h5").find("variable"), std::string::npos) << refusal("variable.h5");
  EXPECT_NE(refusal("committed.h5").find("neither"), std::string::npos) << refusal("committed.h5");
  EXPECT_NE(refusal("text.h5").find("is no HDF5 file"), std::string::npos) << refusal("text.h5");
  EXPECT_NE(refusal("missing.h5").find("no such file"), std::string::npos) << refusal("missing.h5");
}

TEST_F(Hdf5Files, ReportsAFlippedBitWithHdf5sOwnText) {
  const std::vector<std::uint8_t> values(1000, 0x5a);
  auto file = Hdf5File::create(folder_ / "f.h5");
  auto dataset = file.create_dataset("x", Hdf5Type::UInt8, {1000}, {.chunk_rows = 1000});
  dataset.write<std::uint8_t>({0, 1000}, values);
  dataset.close();
  file.close();
  std::fstream raw(folder_ / "f.h5", std::ios::in | std::ios::out | std::ios::binary);
  std::string bytes(std::istreambuf_iterator<char>(raw), {});
  const std::size_t at = bytes.find(std::string(1000, 0x5a));
  ASSERT_NE(at, std::string::npos);
  raw.clear();
  raw.seekp(static_cast<std::streamoff>(at + 500)).put(0x5b).flush();
  try {
    Hdf5File::open(folder_ / "f.h5", {.error_kind = ErrorKind::Checkpoint}).open_dataset("x").read_all<std::uint8_t>();
    FAIL() << "the flipped bit was not noticed";
  } catch (const CheckpointError& error) {
    EXPECT_NE(std::string(error.what()).find("Fletcher32"), std::string::npos) << error.what();
    EXPECT_NE(error.where().find("f.h5:x"), std::string::npos);
  }
}

TEST_F(Hdf5Files, RefusesRowsThatDoNotExist) {
  auto file = Hdf5File::create(folder_ / "r.h5");
  auto dataset = file.create_dataset("x", Hdf5Type::Int64, {4}, {.chunk_rows = 4});
  const std::vector<std::int64_t> values(3);
  EXPECT_THROW(dataset.write<std::int64_t>({2, 3}, values), DataError);
  EXPECT_THROW(file.open_dataset("y"), DataError);
  EXPECT_THROW(file.open_dataset("x/y"), DataError);
}

}  // namespace
}  // namespace rondo::test

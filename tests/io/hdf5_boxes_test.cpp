// SPDX-License-Identifier: Apache-2.0
// Boxes of datasets: any part along any axis, with a stride, in the order of the file.
#include <gtest/gtest.h>
#include <numeric>
#include <unistd.h>

#include "io/hdf5_file.hpp"

namespace rondo::test {
namespace {

class Hdf5Boxes : public testing::Test {
 protected:
  ~Hdf5Boxes() override { std::filesystem::remove(path_); }

  /// A contiguous dataset of the numbers 0, 1, 2, ... with these extents.
  void make(const std::vector<std::int64_t>& extents) {
    std::vector<double> values(static_cast<std::size_t>(
        std::accumulate(extents.begin(), extents.end(), std::int64_t{1}, std::multiplies<>())));
    std::iota(values.begin(), values.end(), 0.0);
    auto file = Hdf5File::create(path_);
    auto dataset = file.create_dataset("x", Hdf5Type::Fp64, extents, {.contiguous = true});
    dataset.write<double>({0, extents.front()}, values);
    dataset.close();
    file.close();
  }
  std::vector<double> read(const std::vector<Hdf5Box>& boxes, std::int64_t count) const {
    std::vector<double> values(static_cast<std::size_t>(count));
    Hdf5File::open(path_).open_dataset("x").read_boxes(boxes, values.data(), count, Hdf5Type::Fp64);
    return values;
  }

  std::filesystem::path path_ =
      std::filesystem::temp_directory_path() / ("rondo-boxes-" + std::to_string(getpid()) + ".h5");
};

TEST_F(Hdf5Boxes, AreReadWithAStrideInTheOrderOfTheFile) {
  make({2, 10, 3});
  EXPECT_EQ(read({{{1, 2, 0}, {1, 4, 1}, {1, 2, 3}}}, 6), (std::vector<double>{36, 37, 38, 48, 49, 50}));
  // two boxes along the last axis: a row of the result is a row of the file
  EXPECT_EQ(read({{{0, 0, 0}, {1, 1, 1}, {1, 2, 1}}, {{0, 0, 2}, {1, 1, 1}, {1, 2, 1}}}, 4),
            (std::vector<double>{0, 2, 3, 5}));
}

TEST_F(Hdf5Boxes, AreWrittenAndLeaveTheRestAlone) {
  auto file = Hdf5File::create(path_);
  auto dataset = file.create_dataset("x", Hdf5Type::Fp64, {4, 4}, {.contiguous = true});
  const std::vector<double> zeros(16), ones(4, 1.0);
  dataset.write<double>({0, 4}, zeros);
  const std::vector<Hdf5Box> corners{{{0, 0}, {3, 3}, {2, 2}}};
  dataset.write_boxes(corners, ones.data(), 4, Hdf5Type::Fp64);
  dataset.close();
  file.close();
  const auto all = Hdf5File::open(path_).open_dataset("x").read_all<double>();
  EXPECT_EQ(all, (std::vector<double>{1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1}));
}

TEST_F(Hdf5Boxes, OutsideOfTheDatasetAreRefused) {
  make({4, 4});
  EXPECT_THROW(read({{{0, 1}, {1, 2}, {1, 3}}}, 3), Error);  // 1, 3, 5
  EXPECT_THROW(read({{{0, 0}, {1, 1}, {1, 3}}}, 4), Error);  // three elements, not four
}

}  // namespace
}  // namespace rondo::test

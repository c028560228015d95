// SPDX-License-Identifier: Apache-2.0
#include "core/tensor_view.hpp"

#include <gtest/gtest.h>
#include <numeric>
#include <vector>

namespace rondo {
namespace {

TEST(Shape, CountsElementsAndRows) {
  EXPECT_EQ((Shape{4, 2, 3}).count(), 24);
  EXPECT_EQ((Shape{4, 2, 3}).row_count(), 6);
  EXPECT_EQ((Shape{0, 7}).count(), 0);
  EXPECT_EQ(to_string(Shape{4, 2, 64}), "[4, 2, 64]");
  EXPECT_THROW((Shape{1, 2, 3, 4, 5}), Error);
}

TEST(TensorView, SlicesRowsWithoutCopying) {
  std::vector<float> values(24);
  std::iota(values.begin(), values.end(), 0.0F);
  const TensorView view{values.data(), DType::Fp32, {4, 2, 3}};
  const TensorView middle = view.rows(1, 2);
  EXPECT_EQ(middle.shape, (Shape{2, 2, 3}));
  EXPECT_EQ(middle.span<float>().front(), 6.0F);
  EXPECT_EQ(middle.span<float>().size(), 12U);
  EXPECT_EQ(view.rows(4, 0).count(), 0);
  EXPECT_THROW((void)view.rows(3, 2), Error);
}

TEST(TensorView, ReshapesOnlyToTheSameCount) {
  std::vector<float> values(6);
  const TensorView view{values.data(), DType::Fp32, {2, 3}};
  EXPECT_EQ(view.reshaped({3, 2}).shape, (Shape{3, 2}));
  EXPECT_THROW((void)view.reshaped({4, 2}), Error);
}

TEST(TensorView, IsReadAsItsOwnTypeOnly) {
  std::vector<float> values(1);
  const TensorView view{values.data(), DType::Fp32, {1}};
  EXPECT_EQ(view.as<float>(), values.data());
  EXPECT_THROW((void)view.as<double>(), Error);
}

TEST(ExpectShape, NamesTheArgumentAndBothShapes) {
  std::vector<float> values(6);
  const TensorView view{values.data(), DType::Fp32, {2, 3}};
  EXPECT_NO_THROW(expect_shape(view, {2, 3}, "q"));
  try {
    expect_shape(view, {3, 2}, "q");
    FAIL() << "a wrong shape was taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.message(), "q must have shape [3, 2], not [2, 3]");
    EXPECT_NE(error.where().find("tensor_view_test.cpp"), std::string::npos);
  }
  EXPECT_THROW(expect_shape(TensorView{nullptr, DType::Fp32, {2, 3}}, {2, 3}, "q"), Error);
  EXPECT_THROW(expect_dtype(view, DType::Bf16, "q"), Error);
}

}  // namespace
}  // namespace rondo

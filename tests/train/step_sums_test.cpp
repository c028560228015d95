// SPDX-License-Identifier: Apache-2.0
#include "train/step_sums.hpp"

#include <cmath>
#include <gtest/gtest.h>
#include <limits>

#include "tests/infer/small_model.hpp"
#include "tests/support/execution.hpp"

namespace rondo {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

class StepSumsTest : public testing::Test {
 protected:
  StepSumsTest() {
    parameters_.zero_gradients();
    sums_.clear();
  }
  void add(std::int64_t micro_batch, std::vector<double> losses) {
    const Shape shape{static_cast<std::int64_t>(losses.size())};
    sums_.add_losses(micro_batch, {losses.data(), DType::Fp64, shape});
  }
  double* gradient(const std::string& name) {
    for (Parameter& parameter : parameters_.parameters()) {
      if (parameter.name == name) return parameter.gradient.as<double>();
    }
    throw std::runtime_error("no parameter " + name);
  }
  void take(StepSums::Of whose) { sums_.sum_squares(whose); }

  Communicator world_ = Communicator::self();
  test::TestExecution execution_{world_};
  ParameterSet parameters_{execution_.get(), test::small_shape(5), DType::Fp64};
  StepSums sums_{execution_.get(), parameters_, 3};
};

TEST_F(StepSumsTest, AddTheLossesOfAllMicroBatches) {
  add(0, {1, 2});
  add(1, {4});
  add(1, {8});  // another span of the same micro-batch
  add(2, {16});
  sums_.fetch();
  EXPECT_EQ(sums_.loss(), 31);
  EXPECT_EQ(sums_.non_finite_micro_batch(), std::nullopt);
  sums_.clear();
  sums_.fetch();
  EXPECT_EQ(sums_.loss(), 0);
}

TEST_F(StepSumsTest, NameTheFirstMicroBatchWhoseLossIsNotFinite) {
  add(0, {1});
  add(1, {1, kNaN});
  add(2, {std::numeric_limits<double>::infinity()});
  sums_.fetch();
  EXPECT_EQ(sums_.non_finite_micro_batch(), 1);
  EXPECT_FALSE(std::isfinite(sums_.loss()));
}

TEST_F(StepSumsTest, HoldTheNormAfterTheRanksWereSummedAndTheOriginBefore) {
  gradient("layers.0.qkv")[0] = kNaN;
  gradient("layers.1.down")[2] = kNaN;
  take(StepSums::Of::ThisRank);
  for (const char* name : {"layers.0.qkv", "layers.1.down"}) gradient(name)[0] = gradient(name)[2] = 0;
  gradient("layers.0.qkv")[1] = 3;
  gradient("layers.1.down")[0] = 4;
  take(StepSums::Of::AllRanks);
  sums_.fetch();
  EXPECT_EQ(sums_.gradient_norm(), 5);
  EXPECT_EQ(sums_.non_finite_origin(), "layers.1.down") << "the parameter nearest to the loss";
}

TEST_F(StepSumsTest, FindNoOriginInFiniteGradients) {
  gradient("layers.0.qkv")[0] = 1e100;
  take(StepSums::Of::ThisRank);
  take(StepSums::Of::AllRanks);
  sums_.fetch();
  EXPECT_EQ(sums_.non_finite_origin(), std::nullopt);
  EXPECT_DOUBLE_EQ(sums_.gradient_norm(), 1e100);
}

}  // namespace
}  // namespace rondo

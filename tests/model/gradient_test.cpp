// SPDX-License-Identifier: Apache-2.0
// The hand-written gradients of the whole model are the derivatives of its loss, in fp64 on the reference
// backend.
#include "tests/support/gradient.hpp"

#include <gtest/gtest.h>

#include "tests/model/tiny_model.hpp"

namespace rondo {
namespace {

std::vector<test::ModelCase> all_cases() {
  std::vector<test::ModelCase> cases = test::tiny_cases();
  for (test::ModelCase& c : test::infini_cases()) cases.push_back(std::move(c));
  return cases;
}

class ModelGradient : public testing::TestWithParam<std::size_t> {};

TEST_P(ModelGradient, OfEveryTensorMatchesCentralDifferences) {
  const test::ModelCase c = all_cases()[GetParam()];
  test::TestExecution execution(Communicator::self());
  test::TinyModel model(execution.get(), c, LayoutKind::Contiguous, DType::Fp64);
  model.forward_backward();
  for (Parameter& parameter : model.parameters().parameters()) {
    test::Tensor value = test::copy_of(parameter.value);
    const test::Tensor gradient = test::copy_of(parameter.gradient);
    const auto loss = [&] {
      std::memcpy(parameter.value.data, value.view().data, parameter.value.size_bytes());
      return model.evaluate();
    };
    // the slope of a memory's sigma has a kink at 0, which a long step would cross
    test::expect_gradient(parameter.name, loss, value, gradient, {.step = c.shape.has_memory(1) ? 2e-5 : 3e-4});
    loss();  // puts the value back
  }
}

TEST_P(ModelGradient, IsNotZeroForAnyTensor) {
  // For a tensor that the loss does not depend on, a gradient that is never computed would pass the comparison.
  const test::ModelCase c = all_cases()[GetParam()];
  test::TestExecution execution(Communicator::self());
  test::TinyModel model(execution.get(), c, LayoutKind::Contiguous, DType::Fp64);
  model.forward_backward();
  for (const Parameter& parameter : model.parameters().parameters()) {
    const test::Tensor gradient = test::copy_of(parameter.gradient);
    EXPECT_GT(test::dot(gradient, gradient), 1e-2) << parameter.name;
  }
}

TEST_P(ModelGradient, ComesWithTheLossesOfEvaluation) {
  const test::ModelCase c = all_cases()[GetParam()];
  test::TestExecution execution(Communicator::self());
  test::TinyModel model(execution.get(), c, LayoutKind::Contiguous, DType::Fp64);
  const double evaluated = model.evaluate();
  const test::Tensor losses = model.losses().copy();
  EXPECT_EQ(model.forward_backward(), evaluated);
  EXPECT_EQ(test::max_difference(losses, model.losses()), 0.0);
}

TEST_P(ModelGradient, AddsToWhatIsThere) {
  const test::ModelCase c = all_cases()[GetParam()];
  test::TestExecution execution(Communicator::self());
  test::TinyModel model(execution.get(), c, LayoutKind::Contiguous, DType::Fp64);
  model.forward_backward();
  const test::Tensor once = test::copy_of(model.parameters().all_gradients());
  model.add_gradients();
  const test::Tensor twice = test::copy_of(model.parameters().all_gradients());
  for (std::int64_t i = 0; i < once.count(); ++i) {
    // some hundred additions round once more each than in a sum that starts at 0
    EXPECT_NEAR(twice[i], 2 * once[i], 1e-12 * std::max(1.0, std::abs(once[i])));
  }
}

TEST(ModelGradientPolicies, KeepAttentionAndKeepInputsGiveTheSameBits) {
  for (test::ModelCase c : all_cases()) {
    test::TestExecution execution(Communicator::self());
    c.policy = ActivationPolicy::KeepAttention;
    test::TinyModel keeping(execution.get(), c, LayoutKind::Contiguous, DType::Fp64);
    c.policy = ActivationPolicy::KeepInputs;
    test::TinyModel recomputing(execution.get(), c, LayoutKind::Contiguous, DType::Fp64);
    keeping.forward_backward();
    recomputing.forward_backward();
    EXPECT_EQ(test::max_difference(test::copy_of(keeping.parameters().all_gradients()),
                                   test::copy_of(recomputing.parameters().all_gradients())),
              0.0)
        << c.name;
  }
}

INSTANTIATE_TEST_SUITE_P(TinyCases, ModelGradient, testing::Range<std::size_t>(0, all_cases().size()));

}  // namespace
}  // namespace rondo

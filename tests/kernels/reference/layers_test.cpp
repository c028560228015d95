// SPDX-License-Identifier: Apache-2.0
// RMSNorm, embedding, SwiGLU and cross-entropy of the reference backend.
#include <cmath>
#include <gtest/gtest.h>

#include "kernels/reference/backend.hpp"
#include "tests/support/gradient.hpp"
#include "tests/support/tensor.hpp"

namespace rondo::test {
namespace {

class Layers : public testing::Test {
 protected:
  Tensor norm(const Tensor& x, const Tensor& weight, double epsilon) {
    Tensor y(x.dtype(), x.shape());
    backend->rms_norm_forward(*host.stream, {.x = x, .weight = weight, .y = y, .epsilon = epsilon});
    return y;
  }
  Tensor swiglu(const Tensor& gate_up) {
    Tensor a(gate_up.dtype(), {gate_up.shape()[0], gate_up.shape()[1] / 2});
    backend->swiglu_forward(*host.stream, {.gate_up = gate_up, .a = a});
    return a;
  }
  Tensor losses(const Tensor& logits, const Tensor& targets) {
    Tensor losses(logits.dtype(), {logits.shape()[0]});
    backend->cross_entropy(*host.stream, {.logits = logits, .targets = targets, .losses = losses, .d_logits = {}});
    return losses;
  }

  std::unique_ptr<Backend> backend = make_reference_backend(cpu_device());
  Host host;
};

using RmsNorm = Layers;

TEST_F(RmsNorm, DividesByTheRootMeanSquare) {
  // (3, 4): mean square 12.5, so with weights (1, 2) the result is (3, 8) / sqrt(12.5).
  const Tensor y = norm(Tensor(DType::Fp64, {1, 2}, {3, 4}), Tensor(DType::Fp64, {2}, {1, 2}), 0);
  EXPECT_DOUBLE_EQ(y[0], 3 / std::sqrt(12.5));
  EXPECT_DOUBLE_EQ(y[1], 8 / std::sqrt(12.5));
}

TEST_F(RmsNorm, AddsEpsilonUnderTheRoot) {
  const Tensor y = norm(Tensor(DType::Fp64, {1, 2}, {1, 1}), Tensor::filled(DType::Fp64, {2}, 1), 3);
  EXPECT_DOUBLE_EQ(y[0], 0.5);
  const Tensor zero = norm(Tensor(DType::Fp64, {1, 2}), Tensor::filled(DType::Fp64, {2}, 1), 1e-5);
  EXPECT_EQ(zero[0], 0);
}

TEST_F(RmsNorm, HasAnExactGradientThatIsAdded) {
  Tensor x = Tensor::random(DType::Fp64, {3, 5}, 1), weight = Tensor::random(DType::Fp64, {5}, 2);
  const Tensor d_y = Tensor::random(DType::Fp64, {3, 5}, 3);
  Tensor d_x = Tensor::filled(DType::Fp64, {3, 5}, 10), d_weight = Tensor::filled(DType::Fp64, {5}, 20);
  backend->rms_norm_backward(*host.stream, {.d_y = d_y,
                                            .x = x,
                                            .weight = weight,
                                            .d_x = d_x,
                                            .d_weight = d_weight,
                                            .epsilon = 0.1,
                                            .scratch = host.scratch});
  for (std::int64_t i = 0; i < d_x.count(); ++i) d_x.set(i, d_x[i] - 10);
  for (std::int64_t i = 0; i < d_weight.count(); ++i) d_weight.set(i, d_weight[i] - 20);
  const auto objective = [&] { return dot(norm(x, weight, 0.1), d_y); };
  expect_gradient("x", objective, x, d_x);
  expect_gradient("weight", objective, weight, d_weight);
}

using Embedding = Layers;

TEST_F(Embedding, CopiesRowsAndAddsGradientsOfRepeatedTokens) {
  const Tensor tokens(DType::Int32, {3}, {2, 0, 2}), table(DType::Bf16, {3, 2}, {1, 2, 3, 4, 5, 6});
  Tensor out(DType::Bf16, {3, 2});
  backend->embedding_forward(*host.stream, {.tokens = tokens, .table = table, .out = out});
  EXPECT_EQ(out.values(), (std::vector<double>{5, 6, 1, 2, 5, 6}));

  const Tensor d_out(DType::Bf16, {3, 2}, {1, 2, 10, 20, 100, 200});
  Tensor d_table = Tensor::filled(DType::Fp32, {3, 2}, 1000);
  backend->embedding_backward(*host.stream, {.tokens = tokens, .d_out = d_out, .d_table = d_table});
  EXPECT_EQ(d_table.values(), (std::vector<double>{1010, 1020, 1000, 1000, 1101, 1202}));
}

TEST_F(Embedding, RefusesATokenOutsideTheVocabulary) {
  const Tensor table(DType::Fp32, {3, 2});
  Tensor out(DType::Fp32, {1, 2});
  for (const double token : {-1.0, 3.0}) {
    const Tensor tokens(DType::Int32, {1}, {token});
    EXPECT_THROW(backend->embedding_forward(*host.stream, {.tokens = tokens, .table = table, .out = out}), Error);
  }
}

using Swiglu = Layers;

TEST_F(Swiglu, GatesUpBySilu) {
  // Columns: gates (0, 1), ups (7, 2). silu(0) = 0, silu(1) = 1 / (1 + 1/e).
  const Tensor a = swiglu(Tensor(DType::Fp64, {1, 4}, {0, 1, 7, 2}));
  EXPECT_EQ(a[0], 0);
  EXPECT_DOUBLE_EQ(a[1], 2 / (1 + std::exp(-1.0)));
}

TEST_F(Swiglu, StaysFiniteForLargeGates) {
  const Tensor a = swiglu(Tensor(DType::Fp32, {1, 4}, {-1000, 1000, 3, 3}));
  EXPECT_EQ(a[0], 0);
  EXPECT_EQ(a[1], 3000);
}

TEST_F(Swiglu, HasAnExactGradient) {
  Tensor gate_up = Tensor::random(DType::Fp64, {3, 8}, 4);
  const Tensor d_a = Tensor::random(DType::Fp64, {3, 4}, 5);
  Tensor d_gate_up = Tensor::filled(DType::Fp64, {3, 8}, 99);
  backend->swiglu_backward(*host.stream, {.gate_up = gate_up, .d_a = d_a, .d_gate_up = d_gate_up});
  expect_gradient(
      "gate_up", [&] { return dot(swiglu(gate_up), d_a); }, gate_up, d_gate_up);
}

using CrossEntropy = Layers;

TEST_F(CrossEntropy, IsTheNegativeLogProbabilityOfTheTarget) {
  // Probabilities 1/4 and 3/4.
  const Tensor logits(DType::Fp64, {2, 2}, {0, std::log(3.0), 0, std::log(3.0)}), targets(DType::Int32, {2}, {1, 0});
  Tensor losses(DType::Fp64, {2}), d_logits(DType::Fp64, {2, 2});
  backend->cross_entropy(
      *host.stream,
      {.logits = logits, .targets = targets, .losses = losses, .d_logits = d_logits, .gradient_scale = 8});
  EXPECT_DOUBLE_EQ(losses[0], std::log(4.0 / 3));
  EXPECT_DOUBLE_EQ(losses[1], std::log(4.0));
  const double expected[] = {2, -2, -6, 6};
  for (std::int64_t i = 0; i < 4; ++i) EXPECT_DOUBLE_EQ(d_logits[i], expected[i]);
}

TEST_F(CrossEntropy, IsZeroWithoutATarget) {
  const Tensor logits(DType::Fp32, {1, 3}, {1, 2, 3}), targets(DType::Int32, {1}, {CrossEntropyArgs::kNoTarget});
  Tensor losses = Tensor::filled(DType::Fp32, {1}, 9), d_logits = Tensor::filled(DType::Bf16, {1, 3}, 9);
  backend->cross_entropy(*host.stream, {.logits = logits, .targets = targets, .losses = losses, .d_logits = d_logits});
  EXPECT_EQ(losses[0], 0);
  EXPECT_EQ(d_logits.values(), (std::vector<double>{0, 0, 0}));
}

TEST_F(CrossEntropy, SurvivesLargeLogits) {
  const Tensor loss = losses(Tensor(DType::Fp32, {1, 2}, {1000, 998}), Tensor(DType::Int32, {1}, {1}));
  EXPECT_NEAR(loss[0], 2 + std::log1p(std::exp(-2.0)), 1e-4);  // an fp32 near 1000 has steps of 6e-5
}

TEST_F(CrossEntropy, HasAnExactGradient) {
  Tensor logits = Tensor::random(DType::Fp64, {4, 6}, 6, 3);
  const Tensor targets(DType::Int32, {4}, {0, 5, CrossEntropyArgs::kNoTarget, 2});
  Tensor losses_ignored(DType::Fp64, {4}), d_logits(DType::Fp64, {4, 6});
  backend->cross_entropy(
      *host.stream,
      {.logits = logits, .targets = targets, .losses = losses_ignored, .d_logits = d_logits, .gradient_scale = 0.5});
  const Tensor half = Tensor::filled(DType::Fp64, {4}, 0.5);
  expect_gradient("logits", [&] { return dot(losses(logits, targets), half); }, logits, d_logits, {.entries = 24});
}

}  // namespace
}  // namespace rondo::test

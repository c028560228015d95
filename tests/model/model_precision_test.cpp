// SPDX-License-Identifier: Apache-2.0
// The whole model on the cpu backend, in fp32 and bf16, is as close to fp64 as the reference backend in the same precision.
#include <gtest/gtest.h>

#include "kernels/cpu/backend.hpp"
#include "tests/model/tiny_model.hpp"
#include "tests/support/tolerance.hpp"

namespace rondo {
namespace {

// Large enough for vector units, attention tiles and errors that average out; no size is a multiple of a tile.
test::ModelCase sizeable_case() {
  return {"sizeable",
          {.layers = 2,
           .d_model = 96,
           .heads = 4,
           .kv_heads = 2,
           .head_dim = 32,
           .d_ff = 136,
           .vocabulary = 67,
           .rope_scaling = {},
           .ffn_chunk_tokens = 64,
           .head_chunk_tokens = 50},
          187,
          {.causal = true},
          {0, 100, 133, 187}};
}

class ModelPrecision : public testing::TestWithParam<DType> {};

TEST_P(ModelPrecision, OnTheCpuBackendFollowsTheToleranceRule) {
  const test::ModelCase c = sizeable_case();
  const auto make_cpu = [](Device& device) { return make_cpu_backend(device, {.threads = 1}); };
  test::TestExecution fast_execution(Communicator::self(), make_cpu), plain_execution(Communicator::self()),
      exact_execution(Communicator::self());
  test::TinyModel fast(fast_execution.get(), c, LayoutKind::Contiguous, GetParam());
  test::TinyModel plain(plain_execution.get(), c, LayoutKind::Contiguous, GetParam());
  test::TinyModel exact(exact_execution.get(), c, LayoutKind::Contiguous, DType::Fp64);
  fast.forward_backward();
  plain.forward_backward();
  exact.forward_backward();
  EXPECT_TRUE(test::within_tolerance(fast.losses(), plain.losses(), exact.losses())) << "losses";
  for (std::size_t p = 0; p < exact.parameters().parameters().size(); ++p) {
    const auto gradient_of = [p](test::TinyModel& model) {
      return test::copy_of(model.parameters().parameters()[p].gradient);
    };
    EXPECT_TRUE(test::within_tolerance(gradient_of(fast), gradient_of(plain), gradient_of(exact)))
        << exact.parameters().parameters()[p].name;
  }
}

INSTANTIATE_TEST_SUITE_P(Types, ModelPrecision, testing::Values(DType::Fp32, DType::Bf16),
                         [](const auto& type) { return std::string(name_of(type.param)); });

}  // namespace
}  // namespace rondo

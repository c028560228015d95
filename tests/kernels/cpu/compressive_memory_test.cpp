// SPDX-License-Identifier: Apache-2.0
// The compressive memory against the reference backend under the tolerance rule, and against itself.
#include "tests/support/compressive_memory.hpp"

#include <cmath>
#include <gtest/gtest.h>
#include <limits>

#include "tests/kernels/cpu/cpu_backends.hpp"
#include "tests/support/tolerance.hpp"

namespace rondo::test {
namespace {

constexpr MemoryRule kRules[] = {MemoryRule::Linear, MemoryRule::Delta, MemoryRule::DeltaCorrected};

/// All that forward and backward give. The state before the run is that of a memory with something in it.
std::vector<Tensor> solve(Backend& backend, Host& host, MemoryProblem p) {
  p.z_before = Tensor::filled(DType::Fp64, p.z_before.shape(), 30);
  p.m_before = Tensor::random(DType::Fp32, p.m_before.shape(), 77, 5).converted(DType::Fp64);
  if (p.rule != MemoryRule::Linear) p.decay = Tensor(DType::Fp64, p.m.shape());
  p.objective(backend, host);
  p.backward(backend, host);
  std::vector<Tensor> all;
  for (Tensor* output : {&p.read, &p.read_normaliser, &p.m, &p.z, &p.d_q, &p.d_k, &p.d_v, &p.d_m, &p.d_z, &p.decay}) {
    if (output->view()) all.push_back(std::move(*output));
  }
  return all;
}

/// Compares every instruction set of this processor with one run of the reference backend.
class CpuCompressiveMemoryTolerance : public testing::Test {
 protected:
  void expect_like_reference(DType type, MemoryRule rule, const MemorySchedule& schedule, std::int64_t heads,
                             std::int64_t kv_heads, std::int64_t dim) {
    const auto problem = [&](DType held) {
      return MemoryProblem::random(held, rule, schedule, heads, kv_heads, dim, 1, type);
    };
    const auto reference = make_reference_backend(cpu_device());
    const std::vector<Tensor> plain = solve(*reference, host, problem(type)),
                              exact = solve(*reference, host, problem(DType::Fp64));
    for (const cpu::Isa isa : isas_of_this_processor()) {
      const auto backend = make_cpu_backend(cpu_device(), {.threads = 2, .isa_limit = isa});
      const std::vector<Tensor> result = solve(*backend, host, problem(type));
      for (std::size_t i = 0; i < result.size(); ++i) {
        // A state is held in fp64 but what is added to it was summed in fp32.
        const Tensor rounded = result[i].converted(accumulator_of(type));
        EXPECT_TRUE(within_tolerance(rounded, plain[i], exact[i]))
            << "output " << i << ", rule " << static_cast<int>(rule) << ", D " << dim << ", " << name_of(type) << ", "
            << cpu::name_of(isa);
      }
    }
  }

  Host host;
};

TEST_F(CpuCompressiveMemoryTolerance, Holds) {
  for (const MemoryRule rule : kRules) {
    for (const DType type : {DType::Fp32, DType::Bf16}) {
      for (const std::int64_t dim : {1, 3, 17, 64, 113}) {
        // The largest error of a few numbers is luck: small heads come in large numbers.
        const std::int64_t kv_heads = std::max<std::int64_t>(2, 200 / dim);
        expect_like_reference(type, rule, whole_segments(50, 2, 113), 2 * kv_heads, kv_heads, dim);
      }
    }
  }
}

TEST_F(CpuCompressiveMemoryTolerance, HoldsWhereDocumentsStart) {
  for (const MemoryRule rule : kRules) {
    MemorySchedule schedule = whole_segments(100, 4, 450);
    schedule.steps[2].is_reset = true;
    expect_like_reference(DType::Fp32, rule, schedule, 2, 2, 32);
  }
}

// 200,000 segments are a hundred million tokens in segments of 500. Plain sums in fp32 are wrong by 1e-3 behind so many.
TEST_F(CpuCompressiveMemoryTolerance, KeepsItsStateOverTwoHundredThousandSegments) {
  constexpr std::int64_t kSegments = 200'000, kDim = 8;
  for (const MemoryRule rule : kRules) {
    const auto state_behind = [&](Backend& backend, DType type) {
      MemoryProblem p =
          MemoryProblem::random(type, rule, whole_segments(1, kSegments, kSegments), 1, 1, kDim, 3, DType::Fp32);
      p.forward(backend, host);
      return std::pair{std::move(p.m), std::move(p.z)};
    };
    const auto cpu = make_cpu_backend(cpu_device(), {.threads = 2}), reference = make_reference_backend(cpu_device());
    const auto [m, z] = state_behind(*cpu, DType::Fp32);
    const auto [exact_m, exact_z] = state_behind(*reference, DType::Fp64);
    const auto error = [](const Tensor& a, const Tensor& b) { return max_difference(a, b) / std::sqrt(dot(b, b)); };
    EXPECT_LE(error(m, exact_m), 1e-7) << "M, rule " << static_cast<int>(rule);
    EXPECT_LE(error(z, exact_z), 1e-7) << "z, rule " << static_cast<int>(rule);
  }
}

class CpuCompressiveMemory : public CpuBackends {};

TEST_P(CpuCompressiveMemory, GivesTheSameBytesOnAnyNumberOfThreads) {
  const auto one = make_cpu(1), three = make_cpu(3);
  const auto problem = [] {
    return MemoryProblem::random(DType::Fp32, MemoryRule::Delta, whole_segments(64, 3, 256), 6, 3, 16, 1, DType::Fp32);
  };
  const std::vector<Tensor> a = solve(*one, host, problem()), b = solve(*three, host, problem());
  for (std::size_t i = 0; i < a.size(); ++i) EXPECT_EQ(max_difference(a[i], b[i]), 0) << "output " << i;
}

TEST_P(CpuCompressiveMemory, TheGateFitsTheTolerance) {
  const Shape shape{70, 3, 17};
  const auto gate = [&](Backend& backend, DType type, DType held) {
    const DType sum = accumulator_of(held);
    const auto input = [&](const Shape& s, std::uint64_t seed) {
      return Tensor::random(accumulator_of(type), s, seed).converted(sum);
    };
    const Tensor local = input(shape, 1), read = input(shape, 2), value = input({3}, 3),
                 d_out = Tensor::random(type, shape, 4).converted(held);
    Tensor normaliser = Tensor::filled(sum, {3, 70}, 2);
    normaliser.set(5, 0);
    std::vector<Tensor> all;
    Tensor out(held, shape), d_local(held, shape), d_read(sum, shape), d_gate(sum, {3});
    backend.memory_gate_forward(*host.stream, {local, {read, normaliser}, value, out});
    backend.memory_gate_backward(*host.stream, {local, {read, normaliser}, value, d_out, d_local, d_read, d_gate});
    for (Tensor* output : {&out, &d_local, &d_read, &d_gate}) all.push_back(std::move(*output));
    return all;
  };
  for (const DType type : {DType::Fp32, DType::Bf16}) {
    const std::vector<Tensor> result = gate(*cpu, type, type), plain = gate(*reference, type, type),
                              exact = gate(*reference, type, DType::Fp64);
    for (std::size_t i = 0; i < result.size(); ++i) {
      EXPECT_TRUE(within_tolerance(result[i], plain[i], exact[i])) << "output " << i << ", " << name_of(type);
    }
  }
}

// Two documents of 100 and 125 tokens in segments of 50: what one of them holds is nothing to the other, forward and backward.
TEST_P(CpuCompressiveMemory, ATokenThatIsNotANumberStaysInItsDocument) {
  constexpr std::int64_t kTokens = 225, kStart = 100, kHeads = 4, kKeyHeads = 2, kDim = 20;
  MemorySchedule schedule = whole_segments(50, 4, kTokens);
  schedule.steps[2].is_reset = true;
  const auto expect_same = [](const Tensor& result, const Tensor& clean, const char* name, auto&& is_of_the_other) {
    for (std::int64_t i = 0; i < result.count(); ++i) {
      if (is_of_the_other(i)) {
        ASSERT_EQ(result[i], clean[i]) << name << " " << i;
      }
    }
  };
  Tensor MemoryProblem::*const inputs[] = {&MemoryProblem::q, &MemoryProblem::k, &MemoryProblem::v,
                                           &MemoryProblem::d_read};
  for (const MemoryRule rule : kRules) {
    for (const DType type : {DType::Fp32, DType::Bf16}) {
      const auto problem = [&] {
        MemoryProblem p = MemoryProblem::random(type, rule, schedule, kHeads, kKeyHeads, kDim, 1, type);
        p.z_before = Tensor::filled(DType::Fp64, p.z_before.shape(), 30);
        p.m_before = Tensor::random(DType::Fp32, p.m_before.shape(), 77, 5).converted(DType::Fp64);
        return p;
      };
      MemoryProblem clean = problem();
      clean.objective(*cpu, host);
      clean.backward(*cpu, host);
      for (const std::int64_t token : {30, 99, 100, 171}) {
        for (int which = 0; which < 4; ++which) {
          SCOPED_TRACE(testing::Message() << "rule " << static_cast<int>(rule) << ", " << name_of(type) << ", input "
                                          << which << " of token " << token);
          MemoryProblem p = problem();
          Tensor& input = p.*inputs[which];
          for (std::int64_t n = 0; n < input.shape()[1]; ++n) {
            input.set((token * input.shape()[1] + n) * kDim + 7, std::numeric_limits<double>::quiet_NaN());
          }
          p.objective(*cpu, host);
          p.backward(*cpu, host);
          const bool is_first = token < kStart;
          const auto of_rows = [&](std::int64_t heads) {
            return [=](std::int64_t i) { return is_first != (i / (heads * kDim) < kStart); };
          };
          expect_same(p.read, clean.read, "read", of_rows(kHeads));
          expect_same(p.read_normaliser, clean.read_normaliser, "normaliser",
                      [&](std::int64_t i) { return is_first != (i % kTokens < kStart); });
          expect_same(p.d_q, clean.d_q, "d_q", of_rows(kHeads));
          expect_same(p.d_k, clean.d_k, "d_k", of_rows(kKeyHeads));
          expect_same(p.d_v, clean.d_v, "d_v", of_rows(kKeyHeads));
          // The state after the run is the second document's, that before it the first one's.
          const auto all = [](std::int64_t) { return true; };
          if (is_first) {
            expect_same(p.m, clean.m, "m", all);
            expect_same(p.z, clean.z, "z", all);
          } else {
            expect_same(p.d_m, clean.d_m, "d_m", all);
            expect_same(p.d_z, clean.d_z, "d_z", all);
          }
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Isas, CpuCompressiveMemory, testing::ValuesIn(isas_of_this_processor()), name_of_isa);

}  // namespace
}  // namespace rondo::test

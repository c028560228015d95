// SPDX-License-Identifier: Apache-2.0
// Every operation but products and attention, against the reference backend under the tolerance rule.
#include <cmath>
#include <gtest/gtest.h>
#include <numeric>

#include "kernels/cpu/kernel_table.hpp"
#include "tests/kernels/cpu/cpu_backends.hpp"
#include "tests/support/tolerance.hpp"

namespace rondo::test {
namespace {

constexpr std::int64_t kNastyColumns[] = {1, 3, 8, 17, 64, 113, 239, 1023};

std::vector<double> rope_frequencies(std::int64_t dim) {
  std::vector<double> frequencies;
  for (std::int64_t i = 0; i < dim / 2; ++i) {
    frequencies.push_back(std::pow(1e4, -2.0 * static_cast<double>(i) / static_cast<double>(dim)));
  }
  return frequencies;
}

class CpuOperations : public CpuBackends {
 protected:
  /// compute(backend, type) gives the outputs on inputs that are the same numbers for every type.
  template <typename Compute> void expect_like_reference(DType type, Compute compute) {
    const std::vector<Tensor> result = compute(*cpu, type, type);
    const std::vector<Tensor> plain = compute(*reference, type, type);
    const std::vector<Tensor> exact = compute(*reference, type, DType::Fp64);
    for (std::size_t i = 0; i < result.size(); ++i) {
      EXPECT_TRUE(within_tolerance(result[i], plain[i], exact[i])) << "output " << i << ", " << name_of(type);
    }
  }
  template <typename Compute> void expect_like_reference(Compute compute) {
    for (const DType type : {DType::Fp32, DType::Bf16}) expect_like_reference(type, compute);
  }
  /// Rounded to `type`, held as `held`.
  static Tensor input(DType type, DType held, const Shape& shape, std::uint64_t seed, double deviation = 1) {
    return Tensor::random(type, shape, seed, deviation).converted(held);
  }
};

TEST_P(CpuOperations, RmsNormFitsTheTolerance) {
  for (const std::int64_t columns : kNastyColumns) {
    expect_like_reference([&](Backend& backend, DType type, DType held) {
      const Shape shape{37, columns};
      const Tensor x = input(type, held, shape, 1, 3), weight = input(type, held, {columns}, 2);
      const Tensor d_y = input(type, held, shape, 3);
      Tensor y(held, shape), d_x = input(type, held, shape, 4), d_weight(accumulator_of(held), {columns});
      backend.rms_norm_forward(*host.stream, {.x = x, .weight = weight, .y = y, .epsilon = 1e-5});
      backend.rms_norm_backward(*host.stream, {.d_y = d_y,
                                               .x = x,
                                               .weight = weight,
                                               .d_x = d_x,
                                               .d_weight = d_weight,
                                               .epsilon = 1e-5,
                                               .scratch = host.scratch});
      std::vector<Tensor> outputs;
      outputs.push_back(std::move(y));
      outputs.push_back(std::move(d_x));
      outputs.push_back(std::move(d_weight));
      return outputs;
    });
  }
}

TEST_P(CpuOperations, SwigluFitsTheTolerance) {
  for (const std::int64_t columns : kNastyColumns) {
    expect_like_reference([&](Backend& backend, DType type, DType held) {
      const Tensor gate_up = input(type, held, {5, 2 * columns}, 1, 6), d_a = input(type, held, {5, columns}, 2);
      Tensor a(held, {5, columns}), d_gate_up(held, {5, 2 * columns});
      backend.swiglu_forward(*host.stream, {.gate_up = gate_up, .a = a});
      backend.swiglu_backward(*host.stream, {.gate_up = gate_up, .d_a = d_a, .d_gate_up = d_gate_up});
      std::vector<Tensor> outputs;
      outputs.push_back(std::move(a));
      outputs.push_back(std::move(d_gate_up));
      return outputs;
    });
  }
}

TEST_P(CpuOperations, CrossEntropyFitsTheTolerance) {
  for (const std::int64_t columns : {1, 5, 17, 256, 1023, 5000}) {
    for (const double deviation : {1.0, 30.0}) {
      expect_like_reference([&](Backend& backend, DType, DType held) {
        constexpr std::int64_t tokens = 9;
        const DType sums = accumulator_of(held);
        const Tensor logits = input(DType::Fp32, sums, {tokens, columns}, 1, deviation);
        Tensor targets(DType::Int32, {tokens});
        for (std::int64_t t = 0; t < tokens; ++t) targets.set(t, t == 3 ? -1 : static_cast<double>(t * 7 % columns));
        Tensor losses(sums, {tokens}), d_logits(held, {tokens, columns});
        backend.cross_entropy(
            *host.stream,
            {.logits = logits, .targets = targets, .losses = losses, .d_logits = d_logits, .gradient_scale = 0.125});
        std::vector<Tensor> outputs;
        outputs.push_back(std::move(losses));
        outputs.push_back(std::move(d_logits));
        return outputs;
      });
    }
  }
}

TEST_P(CpuOperations, RotationFitsTheToleranceUpToPosition1e8) {
  for (const std::int64_t first :
       {std::int64_t{0}, std::int64_t{1} << 20, (std::int64_t{1} << 24) + 1, std::int64_t{99999900}}) {
    for (const std::int64_t dim : {16, 20, 64, 128}) {
      const std::vector<double> frequencies = rope_frequencies(dim);
      TokenRuns positions;
      positions.append(first, 1, 41);
      positions.append(first + 50, 3, 17);
      const std::int64_t tokens = positions.num_tokens(), heads = 4, kv_heads = 2;
      expect_like_reference([&](Backend& backend, DType type, DType held) {
        const DType sums = accumulator_of(held), rounded = accumulator_of(type);
        const Tensor qkv = input(type, held, {tokens, (heads + 2 * kv_heads) * dim}, 1);
        const Tensor d_q = input(rounded, sums, {tokens, heads, dim}, 2);
        const Tensor d_k = input(rounded, sums, {tokens, kv_heads, dim}, 3);
        const Tensor d_v = input(rounded, sums, {tokens, kv_heads, dim}, 4);
        std::vector<Tensor> out;
        out.emplace_back(held, Shape{tokens, heads, dim});
        out.emplace_back(held, Shape{tokens, kv_heads, dim});
        out.emplace_back(held, Shape{tokens, kv_heads, dim});
        out.emplace_back(held, Shape{tokens, (heads + 2 * kv_heads) * dim});
        backend.qkv_split_forward(*host.stream, {.qkv = qkv,
                                                 .q = out[0],
                                                 .k = out[1],
                                                 .v = out[2],
                                                 .positions = positions,
                                                 .inverse_frequencies = frequencies});
        backend.qkv_split_backward(*host.stream, {.d_q = d_q,
                                                  .d_k = d_k,
                                                  .d_v = d_v,
                                                  .d_qkv = out[3],
                                                  .positions = positions,
                                                  .inverse_frequencies = frequencies});
        return out;
      });
    }
  }
}

TEST_P(CpuOperations, RotationOfKeysAloneFitsTheTolerance) {
  const std::int64_t tokens = 133, heads = 3, dim = 20;
  const auto positions = TokenRuns::contiguous(1000, tokens);
  const std::vector<double> frequencies = rope_frequencies(dim);
  expect_like_reference([&](Backend& backend, DType type, DType held) {
    const Tensor rows = input(type, held, {tokens, heads * dim}, 1);
    const Tensor d_rotated = input(accumulator_of(type), accumulator_of(held), {tokens, heads, dim}, 2);
    std::vector<Tensor> out;
    out.emplace_back(held, Shape{tokens, heads, dim});
    out.emplace_back(held, Shape{tokens, heads * dim});
    const auto none = [&](const Tensor& any) { return TensorView{any.view().data, any.dtype(), {tokens, 0, dim}}; };
    backend.qkv_split_forward(*host.stream, {.qkv = rows,
                                             .q = out[0],
                                             .k = none(rows),
                                             .v = none(rows),
                                             .positions = positions,
                                             .inverse_frequencies = frequencies});
    backend.qkv_split_backward(*host.stream, {.d_q = d_rotated,
                                              .d_k = none(d_rotated),
                                              .d_v = none(d_rotated),
                                              .d_qkv = out[1],
                                              .positions = positions,
                                              .inverse_frequencies = frequencies});
    return out;
  });
}

TEST_P(CpuOperations, SplitWithoutFrequenciesCopies) {
  const auto positions = TokenRuns::contiguous(5, 3);
  const std::vector<double> none;
  const Tensor qkv = Tensor::random(DType::Bf16, {3, 4 * 6}, 1);
  Tensor q(DType::Bf16, {3, 2, 6}), k(DType::Bf16, {3, 1, 6}), v(DType::Bf16, {3, 1, 6});
  cpu->qkv_split_forward(*host.stream,
                         {.qkv = qkv, .q = q, .k = k, .v = v, .positions = positions, .inverse_frequencies = none});
  for (std::int64_t t = 0; t < 3; ++t) {
    for (std::int64_t i = 0; i < 12; ++i) EXPECT_EQ(q[t * 12 + i], qkv[t * 24 + i]);
    for (std::int64_t i = 0; i < 6; ++i) EXPECT_EQ(k[t * 6 + i], qkv[t * 24 + 12 + i]);
    for (std::int64_t i = 0; i < 6; ++i) EXPECT_EQ(v[t * 6 + i], qkv[t * 24 + 18 + i]);
  }
}

TEST_P(CpuOperations, EmbeddingIsEqualToTheReference) {
  for (const DType type : {DType::Fp32, DType::Bf16}) {
    constexpr std::int64_t tokens = 300, vocabulary = 7, columns = 203;
    Tensor ids(DType::Int32, {tokens});
    for (std::int64_t t = 0; t < tokens; ++t) ids.set(t, static_cast<double>(t * t % vocabulary));
    const Tensor table = Tensor::random(type, {vocabulary, columns}, 1),
                 d_out = Tensor::random(type, {tokens, columns}, 2);
    std::vector<Tensor> outs, tables;
    for (Backend* backend : {cpu.get(), reference.get()}) {
      Tensor& out = outs.emplace_back(type, Shape{tokens, columns});
      Tensor& d_table = tables.emplace_back(DType::Fp32, Shape{vocabulary, columns});
      backend->embedding_forward(*host.stream, {.tokens = ids, .table = table, .out = out});
      backend->embedding_backward(*host.stream, {.tokens = ids, .d_out = d_out, .d_table = d_table});
    }
    EXPECT_EQ(max_difference(outs[0], outs[1]), 0);
    EXPECT_EQ(max_difference(tables[0], tables[1]), 0);
  }
  Tensor ids(DType::Int32, {1}, {7});
  Tensor out(DType::Fp32, {1, 4});
  EXPECT_THROW(cpu->embedding_forward(*host.stream, {.tokens = ids, .table = Tensor(DType::Fp32, {7, 4}), .out = out}),
               Error);
}

TEST_P(CpuOperations, ConversionAndAdditionAreEqualToTheReference) {
  for (const std::int64_t count : {1, 7, 16, 33, 70001}) {
    for (const DType from : {DType::Fp32, DType::Bf16}) {
      for (const DType to : {DType::Fp32, DType::Bf16}) {
        const Tensor x = Tensor::random(from, {count}, 1), start = Tensor::random(to, {count}, 2);
        Tensor converted(to, {count}), expected(to, {count}), sum = start.copy(), expected_sum = start.copy();
        cpu->convert(*host.stream, {.from = x, .to = converted});
        reference->convert(*host.stream, {.from = x, .to = expected});
        cpu->add(*host.stream, {.from = x, .to = sum});
        reference->add(*host.stream, {.from = x, .to = expected_sum});
        EXPECT_EQ(max_difference(converted, expected), 0);
        EXPECT_EQ(max_difference(sum, expected_sum), 0);
      }
    }
  }
}

TEST_P(CpuOperations, ConversionKeepsSpecialValues) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  const Tensor x(DType::Fp32, {4}, {infinity, -infinity, std::nan(""), -0.0});
  Tensor y(DType::Bf16, {4});
  cpu->convert(*host.stream, {.from = x, .to = y});
  EXPECT_EQ(y[0], infinity);
  EXPECT_EQ(y[1], -infinity);
  EXPECT_TRUE(std::isnan(y[2]));
  EXPECT_TRUE(std::signbit(y[3]));
}

TEST_P(CpuOperations, SumsAreBitwiseEqualToTheReferenceForAnyNumberOfThreads) {
  for (const std::int64_t count : {std::int64_t{1}, kSumChunk - 1, kSumChunk, 8 * kSumChunk + 5, 40 * kSumChunk + 1}) {
    const Tensor x = Tensor::random(DType::Fp32, {count}, 9);
    for (const auto power : {SumArgs::Power::One, SumArgs::Power::Two}) {
      double expected = 0.5;
      reference->sum(*host.stream, {.x = x, .power = power, .result = &expected});
      for (const int threads : {1, 3}) {
        double result = 0.5;
        make_cpu(threads)->sum(*host.stream, {.x = x, .power = power, .result = &result});
        EXPECT_EQ(result, expected) << count;
      }
    }
  }
}

TEST_P(CpuOperations, AdamWFitsTheToleranceAndWritesTheCopy) {
  constexpr std::int64_t count = 1037;
  const auto update = [&](Backend& backend, DType held, Tensor* copy) {
    std::vector<Tensor> state;
    state.push_back(input(DType::Fp32, held, {count}, 1));
    state.emplace_back(held, Shape{count});
    state.emplace_back(held, Shape{count});
    for (std::int64_t step = 1; step <= 3; ++step) {
      const Tensor gradient = input(DType::Fp32, held, {count}, 10 + static_cast<std::uint64_t>(step));
      backend.adamw(*host.stream, {.value = state[0],
                                   .moment_1 = state[1],
                                   .moment_2 = state[2],
                                   .gradient = gradient,
                                   .compute_copy = copy != nullptr ? copy->view() : TensorView{},
                                   .gradient_scale = 0.5,
                                   .learning_rate = 1e-2,
                                   .beta_1 = 0.9,
                                   .beta_2 = 0.95,
                                   .epsilon = 1e-8,
                                   .weight_decay = 0.1,
                                   .step = step});
    }
    return state;
  };
  Tensor copy(DType::Bf16, {count});
  const auto result = update(*cpu, DType::Fp32, &copy);
  const auto plain = update(*reference, DType::Fp32, nullptr), exact = update(*reference, DType::Fp64, nullptr);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_TRUE(within_tolerance(result[i], plain[i], exact[i])) << i;
  EXPECT_EQ(max_difference(copy, result[0].converted(DType::Bf16)), 0);
}

const cpu::KernelTable& kernels_of(cpu::Isa isa) {
  if (isa == cpu::Isa::Portable) return cpu::portable_kernels();
  return isa == cpu::Isa::Avx2 ? cpu::avx2_kernels() : cpu::avx512_kernels();
}

// softmax(x; log-sum-exp 0) is e^x.
TEST_P(CpuOperations, ExponentialIsAccurateToTwoUnitRoundoffs) {
  constexpr std::int64_t count = 870001;
  std::vector<float> x(count), power(count);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = -1e-4F * static_cast<float>(i);
  const auto& kernels = kernels_of(GetParam()).rows;
  kernels.softmax(x.data(), count, 0, 1, cpu::Storage::Fp32, power.data());
  double largest = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double exact = std::exp(static_cast<double>(x[i]));
    largest = std::max(largest, std::abs(static_cast<double>(power[i]) - exact) / exact);
  }
  EXPECT_EQ(power[0], 1.0F);
  EXPECT_LT(largest, 2 * unit_roundoff(DType::Fp32));
}

INSTANTIATE_TEST_SUITE_P(Isa, CpuOperations, testing::ValuesIn(isas_of_this_processor()), name_of_isa);

}  // namespace
}  // namespace rondo::test

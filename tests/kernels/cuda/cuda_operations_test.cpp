// SPDX-License-Identifier: Apache-2.0
// Every operation but products and attention, against the reference backend under the tolerance rule, and bit for bit
// where the arithmetic is exact or its order promised.
#include <cmath>
#include <limits>

#include "tests/kernels/cuda/cuda_world.hpp"

namespace rondo::test {
namespace {

/// One element, primes, multiples of a pack and not, and beyond what one warp or block keeps in registers.
constexpr std::int64_t kNastyColumns[] = {1, 3, 8, 17, 64, 113, 1023, 1040, 2056, 8216};
constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::vector<double> rope_frequencies(std::int64_t dim) {
  std::vector<double> frequencies;
  for (std::int64_t i = 0; i < dim / 2; ++i) {
    frequencies.push_back(std::pow(1e4, -2.0 * static_cast<double>(i) / static_cast<double>(dim)));
  }
  return frequencies;
}

class CudaOperations : public CudaWorld {
 protected:
  void expect_norm_like_reference(DType type, const Shape& shape) {
    expect_like_reference(type, [&](Place& place, DType rounded, DType held) {
      const Buffer x = place.put(input(rounded, held, shape, 1, 3)), d_y = place.put(input(rounded, held, shape, 3));
      const Buffer weight = place.put(input(rounded, held, {shape[1]}, 2));
      std::vector<Buffer> out;
      out.push_back(place.put(Tensor(held, shape)));
      out.push_back(place.put(input(rounded, held, shape, 4)));
      out.push_back(place.put(Tensor::filled(accumulator_of(held), {shape[1]}, 0.5)));
      place.backend.rms_norm_forward(*place.stream,
                                     {.x = x.view(), .weight = weight.view(), .y = out[0].view(), .epsilon = 1e-5});
      place.backend.rms_norm_backward(*place.stream, {.d_y = d_y.view(),
                                                      .x = x.view(),
                                                      .weight = weight.view(),
                                                      .d_x = out[1].view(),
                                                      .d_weight = out[2].view(),
                                                      .epsilon = 1e-5,
                                                      .scratch = place.scratch});
      return place.get_all(out);
    });
  }
};

TEST_F(CudaOperations, RmsNormFitsTheTolerance) {
  for (const std::int64_t columns : kNastyColumns) {
    for (const DType type : {DType::Fp64, DType::Fp32, DType::Bf16}) {
      expect_norm_like_reference(type, {columns < 1000 ? 19 : 3, columns});
    }
  }
  expect_norm_like_reference(DType::Fp32, {32900, 8});  // chunks of more tokens than the fewest
}

TEST_F(CudaOperations, SwigluFitsTheTolerance) {
  for (const std::int64_t columns : kNastyColumns) {
    expect_like_reference([&](Place& place, DType type, DType held) {
      const Buffer gate_up = place.put(input(type, held, {5, 2 * columns}, 1, 6));
      const Buffer d_a = place.put(input(type, held, {5, columns}, 2));
      std::vector<Buffer> out;
      out.push_back(place.put(Tensor(held, {5, columns})));
      out.push_back(place.put(Tensor(held, {5, 2 * columns})));
      place.backend.swiglu_forward(*place.stream, {.gate_up = gate_up.view(), .a = out[0].view()});
      place.backend.swiglu_backward(*place.stream,
                                    {.gate_up = gate_up.view(), .d_a = d_a.view(), .d_gate_up = out[1].view()});
      return place.get_all(out);
    });
  }
}

TEST_F(CudaOperations, CrossEntropyFitsTheTolerance) {
  for (const std::int64_t columns : {1, 5, 17, 256, 1023, 5000}) {
    for (const double deviation : {1.0, 30.0}) {
      expect_like_reference([&](Place& place, DType type, DType held) {
        constexpr std::int64_t tokens = 9;
        const DType sums = accumulator_of(held);
        const Buffer logits = place.put(input(accumulator_of(type), sums, {tokens, columns}, 1, deviation));
        Tensor ids(DType::Int32, {tokens});
        for (std::int64_t t = 0; t < tokens; ++t) ids.set(t, t == 3 ? -1 : static_cast<double>(t * 7 % columns));
        const Buffer targets = place.put(ids);
        std::vector<Buffer> out;
        out.push_back(place.put(Tensor(sums, {tokens})));
        out.push_back(place.put(Tensor(held, {tokens, columns})));
        out.push_back(place.put(Tensor(sums, {tokens})));
        place.backend.cross_entropy(*place.stream, {.logits = logits.view(),
                                                    .targets = targets.view(),
                                                    .losses = out[0].view(),
                                                    .d_logits = out[1].view(),
                                                    .gradient_scale = 0.125});
        place.backend.cross_entropy(
            *place.stream,
            {.logits = logits.view(), .targets = targets.view(), .losses = out[2].view(), .d_logits = {}});
        return place.get_all(out);
      });
    }
  }
}

TEST_F(CudaOperations, CrossEntropyMayOverwriteTheLogits) {
  for (const std::int64_t columns : {7, 700}) {
    const Tensor logits = Tensor::random(DType::Fp32, {2, columns}, 1), ids(DType::Int32, {2}, {0, 6});
    const std::vector<Tensor> apart = on_device([&](Place& place) {
      const Buffer z = place.put(logits), targets = place.put(ids);
      std::vector<Buffer> out;
      out.push_back(place.put(Tensor(DType::Fp32, {2})));
      out.push_back(place.put(logits));
      place.backend.cross_entropy(
          *place.stream,
          {.logits = z.view(), .targets = targets.view(), .losses = out[0].view(), .d_logits = out[1].view()});
      return place.get_all(out);
    });
    const std::vector<Tensor> in_place = on_device([&](Place& place) {
      const Buffer targets = place.put(ids);
      std::vector<Buffer> out;
      out.push_back(place.put(Tensor(DType::Fp32, {2})));
      out.push_back(place.put(logits));
      place.backend.cross_entropy(
          *place.stream,
          {.logits = out[1].view(), .targets = targets.view(), .losses = out[0].view(), .d_logits = out[1].view()});
      return place.get_all(out);
    });
    EXPECT_EQ(max_difference(apart[0], in_place[0]), 0);
    EXPECT_EQ(max_difference(apart[1], in_place[1]), 0);
  }
}

/// The host cannot be told of a wrong id by a kernel; the check for non-finite losses ends the run.
TEST_F(CudaOperations, IdsOutsideOfTheVocabularyGiveNaN) {
  const std::vector<Tensor> out = on_device([&](Place& place) {
    const Buffer logits = place.put(Tensor::random(DType::Fp32, {2, 5}, 1)),
                 ids = place.put(Tensor(DType::Int32, {2}, {5, -2})), table = place.put(Tensor(DType::Bf16, {5, 9}));
    std::vector<Buffer> results;
    results.push_back(place.put(Tensor(DType::Fp32, {2})));
    results.push_back(place.put(Tensor(DType::Fp32, {2, 5})));
    results.push_back(place.put(Tensor(DType::Bf16, {2, 9})));
    place.backend.cross_entropy(
        *place.stream,
        {.logits = logits.view(), .targets = ids.view(), .losses = results[0].view(), .d_logits = results[1].view()});
    place.backend.embedding_forward(*place.stream,
                                    {.tokens = ids.view(), .table = table.view(), .out = results[2].view()});
    return place.get_all(results);
  });
  for (const Tensor& tensor : out) {
    for (std::int64_t i = 0; i < tensor.count(); ++i) EXPECT_TRUE(std::isnan(tensor[i]));
  }
}

TEST_F(CudaOperations, RotationFitsTheToleranceUpToPosition1e8) {
  for (const std::int64_t first : {std::int64_t{0}, (std::int64_t{1} << 24) + 1, std::int64_t{99999900}}) {
    for (const std::int64_t dim : {2, 20, 64, 128}) {
      const std::vector<double> frequencies = rope_frequencies(dim);
      TokenRuns positions;
      positions.append(first, 1, 21);
      positions.append(first + 50, 3, 17);
      const std::int64_t tokens = positions.num_tokens(), heads = 4, kv_heads = 2;
      expect_like_reference([&](Place& place, DType type, DType held) {
        const DType sums = accumulator_of(held), rounded = accumulator_of(type);
        const Shape packed{tokens, (heads + 2 * kv_heads) * dim};
        const Shape query_shape{tokens, heads, dim}, key_shape{tokens, kv_heads, dim};
        const Buffer qkv = place.put(input(type, held, packed, 1));
        const Buffer d_q = place.put(input(rounded, sums, query_shape, 2));
        const Buffer d_k = place.put(input(rounded, sums, key_shape, 3));
        const Buffer d_v = place.put(input(rounded, sums, key_shape, 4));
        std::vector<Buffer> out;
        for (const Shape& shape : {query_shape, key_shape, key_shape, packed}) {
          out.push_back(place.put(Tensor(held, shape)));
        }
        place.backend.qkv_split_forward(*place.stream, {.qkv = qkv.view(),
                                                        .q = out[0].view(),
                                                        .k = out[1].view(),
                                                        .v = out[2].view(),
                                                        .positions = positions,
                                                        .inverse_frequencies = frequencies});
        place.backend.qkv_split_backward(*place.stream, {.d_q = d_q.view(),
                                                         .d_k = d_k.view(),
                                                         .d_v = d_v.view(),
                                                         .d_qkv = out[3].view(),
                                                         .positions = positions,
                                                         .inverse_frequencies = frequencies});
        return place.get_all(out);
      });
    }
  }
}

TEST_F(CudaOperations, RotationOfKeysAloneFitsTheTolerance) {
  const std::int64_t tokens = 33, heads = 3, dim = 20;
  const auto positions = TokenRuns::contiguous(1000, tokens);
  const std::vector<double> frequencies = rope_frequencies(dim);
  expect_like_reference([&](Place& place, DType type, DType held) {
    const Buffer rows = place.put(input(type, held, {tokens, heads * dim}, 1));
    const Buffer d_rotated = place.put(input(accumulator_of(type), accumulator_of(held), {tokens, heads, dim}, 2));
    std::vector<Buffer> out;
    out.push_back(place.put(Tensor(held, {tokens, heads, dim})));
    out.push_back(place.put(Tensor(held, {tokens, heads * dim})));
    const auto none = [&](const Buffer& any) { return TensorView{any.data(), any.view().dtype, {tokens, 0, dim}}; };
    place.backend.qkv_split_forward(*place.stream, {.qkv = rows.view(),
                                                    .q = out[0].view(),
                                                    .k = none(rows),
                                                    .v = none(rows),
                                                    .positions = positions,
                                                    .inverse_frequencies = frequencies});
    place.backend.qkv_split_backward(*place.stream, {.d_q = d_rotated.view(),
                                                     .d_k = none(d_rotated),
                                                     .d_v = none(d_rotated),
                                                     .d_qkv = out[1].view(),
                                                     .positions = positions,
                                                     .inverse_frequencies = frequencies});
    return place.get_all(out);
  });
}

TEST_F(CudaOperations, SplitWithoutFrequenciesCopies) {
  const auto positions = TokenRuns::contiguous(5, 3);
  const std::vector<double> none;
  expect_equal_to_reference([&](Place& place) {
    const Buffer qkv = place.put(Tensor::random(DType::Bf16, {3, 4 * 6}, 1));
    std::vector<Buffer> out;
    for (const std::int64_t heads : {2, 1, 1}) out.push_back(place.put(Tensor(DType::Bf16, {3, heads, 6})));
    place.backend.qkv_split_forward(*place.stream, {.qkv = qkv.view(),
                                                    .q = out[0].view(),
                                                    .k = out[1].view(),
                                                    .v = out[2].view(),
                                                    .positions = positions,
                                                    .inverse_frequencies = none});
    return place.get_all(out);
  });
}

TEST_F(CudaOperations, EmbeddingIsEqualToTheReference) {
  // Few rows with many tokens each, many rows, more tokens than one list holds, columns that fill several blocks.
  struct Case {
    std::int64_t tokens, vocabulary, columns;
  };
  for (const Case& size :
       {Case{1, 1, 1}, Case{300, 7, 203}, Case{9001, 4, 8}, Case{1100, 130, 24}, Case{40, 3, 1096}}) {
    for (const DType type : {DType::Fp64, DType::Fp32, DType::Bf16}) {
      expect_equal_to_reference([&](Place& place) {
        Tensor tokens(DType::Int32, {size.tokens});
        for (std::int64_t t = 0; t < size.tokens; ++t) tokens.set(t, static_cast<double>(t * t % size.vocabulary));
        const Buffer ids = place.put(tokens);
        const Buffer table = place.put(Tensor::random(type, {size.vocabulary, size.columns}, 1));
        const Buffer d_out = place.put(Tensor::random(type, {size.tokens, size.columns}, 2));
        std::vector<Buffer> out;
        out.push_back(place.put(Tensor(type, {size.tokens, size.columns})));
        out.push_back(place.put(Tensor::random(accumulator_of(type), {size.vocabulary, size.columns}, 3)));
        place.backend.embedding_forward(*place.stream,
                                        {.tokens = ids.view(), .table = table.view(), .out = out[0].view()});
        place.backend.embedding_backward(*place.stream,
                                         {.tokens = ids.view(), .d_out = d_out.view(), .d_table = out[1].view()});
        return place.get_all(out);
      });
    }
  }
}

TEST_F(CudaOperations, ConversionAdditionAndFillAreEqualToTheReference) {
  for (const std::int64_t count : {1, 7, 16, 33, 3001}) {
    for (const DType from : {DType::Fp64, DType::Fp32, DType::Bf16}) {
      for (const DType to : {DType::Fp64, DType::Fp32, DType::Bf16}) {
        expect_equal_to_reference([&](Place& place) {
          const Buffer x = place.put(Tensor::random(from, {count}, 1));
          std::vector<Buffer> out;
          out.push_back(place.put(Tensor(to, {count})));
          out.push_back(place.put(Tensor::random(to, {count}, 2)));
          out.push_back(place.put(Tensor(to, {count})));
          place.backend.convert(*place.stream, {.from = x.view(), .to = out[0].view()});
          place.backend.add(*place.stream, {.from = x.view(), .to = out[1].view()});
          place.device.fill(*place.stream, out[2].view(), 1.0 / 3);
          return place.get_all(out);
        });
      }
    }
  }
}

/// Rows of a tensor need not start where whole packs do.
TEST_F(CudaOperations, PassesOverUnalignedRowsAreEqualToTheReference) {
  expect_equal_to_reference([&](Place& place) {
    const Buffer x = place.put(Tensor::random(DType::Fp32, {3, 5, 7}, 1));
    std::vector<Buffer> out;
    out.push_back(place.put(Tensor(DType::Bf16, {3, 5, 7})));
    place.backend.convert(*place.stream, {.from = x.view().rows(1, 2), .to = out[0].view().rows(1, 2)});
    place.backend.add(*place.stream, {.from = x.view().rows(0, 1), .to = out[0].view().rows(2, 1)});
    return place.get_all(out);
  });
}

TEST_F(CudaOperations, ConversionRoundsOnceAndKeepsSpecialValues) {
  // The last two lie so close to the middle of two bf16 that an fp32 in between would round them the wrong way.
  const std::vector<double> values{
      kInfinity, -kInfinity, -0.0, 1e300, 1e-320, 1 + 0x1p-8 + 0x1p-40, 1 + 3 * 0x1p-8 - 0x1p-40};
  const auto count = static_cast<std::int64_t>(values.size());
  expect_equal_to_reference([&](Place& place) {
    const Buffer x = place.put(Tensor(DType::Fp64, {count}, values));
    std::vector<Buffer> out;
    out.push_back(place.put(Tensor(DType::Bf16, {count})));
    out.push_back(place.put(Tensor(DType::Fp32, {count})));
    for (const Buffer& to : out) place.backend.convert(*place.stream, {.from = x.view(), .to = to.view()});
    return place.get_all(out);
  });
  const std::vector<Tensor> nan = on_device([&](Place& place) {
    const Buffer x = place.put(Tensor(DType::Fp64, {1}, {std::nan("")}));
    std::vector<Buffer> out;
    out.push_back(place.put(Tensor(DType::Bf16, {1})));
    place.backend.convert(*place.stream, {.from = x.view(), .to = out[0].view()});
    return place.get_all(out);
  });
  EXPECT_TRUE(std::isnan(nan[0][0]));
}

TEST_F(CudaOperations, SumsAreBitwiseEqualToTheReference) {
  for (const std::int64_t count : {std::int64_t{1}, kSumChunk - 1, kSumChunk, 40 * kSumChunk + 5}) {
    for (const DType type : {DType::Fp64, DType::Fp32}) {
      for (const auto power : {SumArgs::Power::One, SumArgs::Power::Two}) {
        expect_equal_to_reference([&](Place& place) {
          const Buffer x = place.put(Tensor::random(type, {count}, 9));
          std::vector<Buffer> out;
          out.push_back(place.put(Tensor::filled(DType::Fp64, {1}, 0.5)));
          place.backend.sum(*place.stream, {.x = x.view(), .power = power, .result = out[0].view().as<double>()});
          return place.get_all(out);
        });
      }
    }
  }
}

TEST_F(CudaOperations, AdamWFitsTheToleranceAndWritesTheCopy) {
  for (const std::int64_t count : {1, 8, 1037}) {
    for (const DType type : {DType::Fp64, DType::Fp32}) {
      const auto update = [&](Place& place, DType held) {
        std::vector<Buffer> state;
        state.push_back(place.put(input(type, held, {count}, 1)));
        state.push_back(place.put(Tensor(held, {count})));
        state.push_back(place.put(Tensor(held, {count})));
        state.push_back(place.put(Tensor(DType::Bf16, {count})));
        for (std::int64_t step = 1; step <= 3; ++step) {
          const Buffer gradient = place.put(input(type, held, {count}, 10 + static_cast<std::uint64_t>(step)));
          place.backend.adamw(*place.stream, {.value = state[0].view(),
                                              .moment_1 = state[1].view(),
                                              .moment_2 = state[2].view(),
                                              .gradient = gradient.view(),
                                              .compute_copy = step == 2 ? TensorView{} : state[3].view(),
                                              .gradient_scale = 0.5,
                                              .learning_rate = 1e-2,
                                              .beta_1 = 0.9,
                                              .beta_2 = 0.95,
                                              .epsilon = 1e-8,
                                              .weight_decay = 0.1,
                                              .step = step});
          place.get(state[0]);  // the gradient has been read
        }
        return place.get_all(state);
      };
      const auto result = on_device([&](Place& place) { return update(place, type); });
      const auto plain = on_host([&](Place& place) { return update(place, type); });
      const auto exact = on_host([&](Place& place) { return update(place, DType::Fp64); });
      for (std::size_t i = 0; i < 3; ++i) EXPECT_TRUE(fits(result[i], plain[i], exact[i])) << i;
      const auto copy = on_host([&](Place& place) {
        const Buffer value = place.put(result[0]);
        std::vector<Buffer> out;
        out.push_back(place.put(Tensor(DType::Bf16, {count})));
        place.backend.convert(*place.stream, {.from = value.view(), .to = out[0].view()});
        return place.get_all(out);
      });
      EXPECT_EQ(max_difference(result[3], copy[0]), 0);
    }
  }
}

}  // namespace
}  // namespace rondo::test

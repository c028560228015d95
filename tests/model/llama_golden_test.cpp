// SPDX-License-Identifier: Apache-2.0
// The model is LLaMA: losses, logits and gradients equal those of the independent program tests/oracle/llama.py, for every kind
// of rope_scaling, with tied and untied embeddings; and logits with a key/value cache equal those without.
#include <gtest/gtest.h>
#include <map>

#include "tests/model/tiny_model.hpp"
#include "tests/support/golden.hpp"

namespace rondo {
namespace {

// Both in fp64, with sums in another order and another matrix product.
constexpr double kTolerance = 1e-10;

using Golden = std::map<std::string, test::Tensor>;

std::vector<std::int32_t> integers(const test::Tensor& tensor) {
  std::vector<std::int32_t> values;
  for (std::int64_t i = 0; i < tensor.count(); ++i) values.push_back(static_cast<std::int32_t>(tensor[i]));
  return values;
}

test::ModelCase case_of(const std::string& name, const Golden& golden) {
  const auto integer = [&](const char* key) {
    return static_cast<std::int64_t>(golden.at(std::string("config.") + key)[0]);
  };
  const auto scaling = [&](const char* key) { return golden.at(std::string("config.rope_scaling.") + key)[0]; };
  TransformerShape shape{.layers = integer("layers"),
                         .d_model = integer("d_model"),
                         .heads = integer("heads"),
                         .kv_heads = integer("kv_heads"),
                         .head_dim = integer("head_dim"),
                         .d_ff = integer("d_ff"),
                         .vocabulary = integer("vocabulary"),
                         .rope_theta = golden.at("config.rope_theta")[0],
                         .rope_scaling = {},
                         .norm_epsilon = golden.at("config.norm_epsilon")[0],
                         .tie_embeddings = integer("tied") != 0,
                         .ffn_chunk_tokens = 7,
                         .head_chunk_tokens = 5};
  if (name.ends_with("linear")) {
    shape.rope_scaling = {.kind = RopeScalingRule::Kind::Linear, .factor = scaling("factor")};
  } else if (name.ends_with("llama3")) {
    shape.rope_scaling = {.kind = RopeScalingRule::Kind::Llama3,
                          .factor = scaling("factor"),
                          .low_frequency_factor = scaling("low_freq_factor"),
                          .high_frequency_factor = scaling("high_freq_factor"),
                          .original_tokens = static_cast<std::int64_t>(scaling("original_max_position_embeddings"))};
  }
  std::vector<std::int64_t> documents;
  for (const double offset : golden.at("document_offsets").values()) {
    documents.push_back(static_cast<std::int64_t>(offset));
  }
  return {name, shape, golden.at("tokens").count(), {.causal = true}, documents};
}

class LlamaGolden : public testing::TestWithParam<std::string> {
 protected:
  LlamaGolden() {
    model_.set_tokens(integers(golden_.at("tokens")), integers(golden_.at("targets")));
    for (const Parameter& parameter : model_.parameters().parameters()) {
      const test::Tensor& value = golden_.at("parameter." + parameter.name);
      ensure(value.shape() == parameter.value.shape, "a golden parameter has the shape of the model's");
      std::memcpy(parameter.value.data, value.view().data, parameter.value.size_bytes());
    }
  }

  /// The next-token logits after each piece of `count` tokens of the document [first, last), with an empty cache at its start.
  void expect_cached_logits(std::int64_t first, std::int64_t last, std::int64_t count) {
    const std::int64_t vocabulary = case_.shape.vocabulary;
    const test::Tensor& expected = golden_.at("logits");
    test::Tensor logits(DType::Fp64, {vocabulary});
    SequenceState state = model_.model().make_state(last - first);
    for (std::int64_t next = first; next < last; next += count) {
      const std::int64_t piece = std::min(count, last - next);
      const Span span(SequenceLayout(piece, 1, LayoutKind::Contiguous, next - first), {.causal = true}, 0);
      model_.model().next_logits(span, model_.tokens().view().rows(next, piece), state, logits);
      for (std::int64_t v = 0; v < vocabulary; ++v) {
        EXPECT_NEAR(logits[v], expected[(next + piece - 1) * vocabulary + v], kTolerance)
            << "behind token " << next + piece;
      }
    }
  }

  Golden golden_ = test::read_golden(RONDO_TESTS "/model/golden/llama_" + GetParam() + ".golden");
  test::ModelCase case_ = case_of(GetParam(), golden_);
  test::TestExecution execution_{Communicator::self()};
  test::TinyModel model_{execution_.get(), case_, LayoutKind::Contiguous, DType::Fp64};
};

TEST_P(LlamaGolden, HasEveryParameterOfTheModel) {
  std::size_t parameters = 0;
  for (const auto& [name, value] : golden_) parameters += name.starts_with("parameter.") ? 1U : 0U;
  EXPECT_EQ(model_.parameters().parameters().size(), parameters);
}

TEST_P(LlamaGolden, HasTheFrequenciesOfTheModel) {
  const std::vector<double> frequencies = rope_inverse_frequencies(case_.shape);
  const test::Tensor& expected = golden_.at("inverse_frequencies");
  ASSERT_EQ(static_cast<std::int64_t>(frequencies.size()), expected.count());
  for (std::int64_t i = 0; i < expected.count(); ++i) {
    EXPECT_NEAR(frequencies[static_cast<std::size_t>(i)], expected[i], 1e-15 * expected[i]);  // a few roundings
  }
}

TEST_P(LlamaGolden, GivesTheLossesOfTheModel) {
  model_.evaluate();
  EXPECT_LE(test::max_difference(model_.losses(), golden_.at("losses")), kTolerance);
}

TEST_P(LlamaGolden, GivesTheGradientsOfTheModel) {
  const double loss = model_.forward_backward();
  double num_targets = 0;
  for (const double target : golden_.at("targets").values()) num_targets += target >= 0 ? 1 : 0;
  EXPECT_NEAR(loss / num_targets, golden_.at("loss")[0], kTolerance);
  for (const Parameter& parameter : model_.parameters().parameters()) {
    test::Tensor gradient = test::copy_of(parameter.gradient);
    for (std::int64_t i = 0; i < gradient.count(); ++i) gradient.set(i, gradient[i] / num_targets);
    EXPECT_LE(test::max_difference(gradient, golden_.at("gradient." + parameter.name)), kTolerance) << parameter.name;
  }
}

TEST_P(LlamaGolden, GivesTheLogitsOfTheModelWithACacheFedInPiecesOfAnySize) {
  // Rotary positions are relative, so a document gives the same logits when it starts at position 0.
  for (std::size_t d = 0; d + 1 < case_.documents.size(); ++d) {
    for (const std::int64_t count : {1, 7, 1000}) {
      expect_cached_logits(case_.documents[d], case_.documents[d + 1], count);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Files, LlamaGolden, testing::Values("tied_none", "untied_linear", "untied_llama3"));

}  // namespace
}  // namespace rondo

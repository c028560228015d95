// SPDX-License-Identifier: Apache-2.0
#include "infer/generator.hpp"

#include <algorithm>
#include <gtest/gtest.h>
#include <limits>
#include <vector>

#include "core/random.hpp"
#include "tests/infer/small_model.hpp"
#include "tests/support/execution.hpp"

namespace rondo {
namespace {

constexpr std::int64_t kVocabulary = 11;

const std::vector<std::int32_t> kPrompt{3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5};

std::vector<std::int32_t> generated(test::TestExecution& execution, Transformer& model, const GeneratorOptions& options,
                                    std::int64_t num_tokens) {
  const IdsTokenizer tokenizer(kVocabulary);
  Generator generator(execution.get(), model, tokenizer, options);
  std::vector<std::int32_t> tokens;
  generator.generate(kPrompt, num_tokens, [&](std::int32_t token) {
    tokens.push_back(token);
    return true;
  });
  return tokens;
}

// Without a cache: all tokens so far go through the model again for each new one.
std::vector<std::int32_t> generated_by_recomputation(Transformer& model, const GeneratorOptions& options,
                                                     std::int64_t num_tokens) {
  std::vector<std::int32_t> all = kPrompt;
  const CounterRandom random(options.seed, stream_of("generator.draw"));
  for (std::int64_t i = 0; i < num_tokens; ++i) {
    const auto count = static_cast<std::int64_t>(all.size());
    SequenceState state = model.make_state(count);
    std::vector<double> logits(kVocabulary);
    const Span span(SequenceLayout(count, 1, LayoutKind::Contiguous), options.rule, 0);
    model.next_logits(span, {all.data(), DType::Int32, {count}}, state, {logits.data(), DType::Fp64, {kVocabulary}});
    all.push_back(sample_token(logits, options.sampling, random.uniform(static_cast<std::uint64_t>(i))));
  }
  return {all.begin() + static_cast<std::ptrdiff_t>(kPrompt.size()), all.end()};
}

class GeneratorTest : public testing::Test {
 protected:
  test::TestExecution execution_{Communicator::self()};
  test::SmallModel model_{execution_.get(), test::small_shape(kVocabulary)};
};

TEST_F(GeneratorTest, EqualsRecomputationWithoutACache) {
  for (const SamplingRule& sampling :
       {SamplingRule{.temperature = 0}, SamplingRule{}, SamplingRule{.top_k = 4, .top_p = 0.9}}) {
    for (const std::int64_t window : {0, 5}) {
      GeneratorOptions options{.sampling = sampling, .seed = 5, .rule = {.causal = true, .window = window}};
      options.prefill_chunk_tokens = 4;
      EXPECT_EQ(generated(execution_, model_.transformer, options, 20),
                generated_by_recomputation(model_.transformer, options, 20));
    }
  }
}

TEST_F(GeneratorTest, DependsOnTheSeedOnly) {
  const auto text = [&](std::uint64_t seed) {
    return generated(execution_, model_.transformer, {.sampling = {}, .seed = seed}, 30);
  };
  EXPECT_EQ(text(1), text(1));
  EXPECT_NE(text(1), text(2));
}

TEST_F(GeneratorTest, DoesNotDependOnThePrefillChunk) {
  GeneratorOptions options{.sampling = {.temperature = 0}};
  options.prefill_chunk_tokens = 1;
  const auto one_by_one = generated(execution_, model_.transformer, options, 12);
  for (const std::int64_t chunk : {3, 11, 64}) {
    options.prefill_chunk_tokens = chunk;
    EXPECT_EQ(generated(execution_, model_.transformer, options, 12), one_by_one) << chunk;
  }
}

TEST_F(GeneratorTest, BeginsALongerTextWithTheShorterOne) {
  const auto longer = generated(execution_, model_.transformer, {}, 20);
  const auto shorter = generated(execution_, model_.transformer, {}, 7);
  EXPECT_EQ(shorter, std::vector(longer.begin(), longer.begin() + 7));
}

TEST_F(GeneratorTest, StopsWhenToldTo) {
  const IdsTokenizer tokenizer(kVocabulary);
  Generator generator(execution_.get(), model_.transformer, tokenizer, {});
  int num_tokens = 0;
  generator.generate(kPrompt, 100, [&](std::int32_t) { return ++num_tokens < 3; });
  EXPECT_EQ(num_tokens, 3);
}

TEST_F(GeneratorTest, RefusesPromptsThatTheModelCannotRead) {
  const IdsTokenizer tokenizer(kVocabulary);
  Generator generator(execution_.get(), model_.transformer, tokenizer, {});
  const auto emit = [](std::int32_t) { return true; };
  EXPECT_THROW(generator.generate({}, 1, emit), ConfigError);
  EXPECT_THROW(generator.generate(std::vector<std::int32_t>{kVocabulary}, 1, emit), ConfigError);
  EXPECT_THROW(generator.generate(std::vector<std::int32_t>{-1}, 1, emit), ConfigError);
}

TEST(Generator, NeverDrawsWhatTheTokenizerDoesNotPredict) {
  // Five letters, N among them; the model has three ids more than the tokenizer.
  test::TestExecution execution(Communicator::self());
  test::SmallModel model(execution.get(), test::small_shape(8));
  const DnaTokenizer tokenizer;
  Generator generator(execution.get(), model.transformer, tokenizer, {.sampling = {.temperature = 100}});
  std::vector<int> counts(8);
  generator.generate(std::vector<std::int32_t>{0, DnaTokenizer::kUnknown, 2}, 400, [&](std::int32_t token) {
    ++counts[static_cast<std::size_t>(token)];
    return true;
  });
  for (const std::size_t id : {0, 1, 2, 3}) EXPECT_GT(counts[id], 0) << id;
  for (const std::size_t id : {4, 5, 6, 7}) EXPECT_EQ(counts[id], 0) << id;
}

TEST(Generator, GeneratesInSinglePrecision) {
  test::TestExecution execution(Communicator::self());
  test::SmallModel narrow(execution.get(), test::small_shape(kVocabulary), DType::Fp32);
  test::SmallModel wide(execution.get(), test::small_shape(kVocabulary), DType::Fp64);
  const GeneratorOptions options{.sampling = {.temperature = 0}};
  // fp32 logits are off by 1e-5 or so; the two largest of each step of this text are further apart
  EXPECT_EQ(generated(execution, narrow.transformer, options, 10), generated(execution, wide.transformer, options, 10));
}

}  // namespace
}  // namespace rondo

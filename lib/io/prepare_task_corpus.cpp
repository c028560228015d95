// SPDX-License-Identifier: Apache-2.0
#include "io/prepare_task_corpus.hpp"

#include "core/error.hpp"
#include "io/corpus_writer.hpp"

namespace rondo {

namespace {

constexpr std::int64_t kMostSamples = std::int64_t{1} << 40;
constexpr std::int64_t kTokensPerTick = std::int64_t{1} << 20;

void require_samples(std::int64_t samples, std::int64_t least, const char* option) {
  if (samples >= least && samples <= kMostSamples) return;
  throw ConfigError("must be from " + std::to_string(least) + " to 2^40, not " + std::to_string(samples), option,
                    "a corpus of a task needs samples to train on, as in --samples 20000 --validation-samples 200");
}

}  // namespace

TaskCorpusResult prepare_task_corpus(const TaskCorpusOptions& options,
                                     const std::function<void(std::int64_t num_samples)>& progress) {
  check(options.task);
  require_samples(options.num_samples, 1, "--samples");
  require_samples(options.num_validation_samples, 0, "--validation-samples");
  CorpusWriter writer(options.output, *tokenizer_of(options.task), TargetRecord::Ranges);
  TaskCorpusResult result;
  std::vector<std::uint32_t> tokens;
  std::vector<std::byte> narrow;
  std::int64_t num_samples = 0, tokens_since_tick = 0;
  const auto write = [&](Split split, SampleSplit samples, std::int64_t index, std::int64_t& num_targets) {
    const TaskSample sample = make_sample(options.task, samples, index);
    tokens.assign(sample.tokens.begin(), sample.tokens.end());
    narrow_tokens(tokens, writer.token_type(), narrow);
    writer.append(split, narrow);
    for (const TaskAnswer& answer : sample.answers) {
      writer.add_targets(split, answer.first, answer.num_tokens);
      num_targets += answer.num_tokens;
    }
    writer.end_document(split, std::string(name_of(options.task.task)) + " sample " + std::to_string(index));
    ++num_samples;
    tokens_since_tick += options.task.tokens;
    if (tokens_since_tick < kTokensPerTick) return;
    tokens_since_tick = 0;
    if (progress) progress(num_samples);
  };
  for (std::int64_t i = 0; i < options.num_samples; ++i) {
    write(Split::Train, SampleSplit::Train, i, result.num_train_targets);
  }
  for (std::int64_t i = 0; i < options.num_validation_samples; ++i) {
    write(Split::Validation, SampleSplit::Validation, i, result.num_validation_targets);
  }
  if (!options.task.has_pairs()) {
    result.validation_passkeys_seen = share_of_passkeys_seen(options.task, SampleSplit::Validation,
                                                             options.num_validation_samples, options.num_samples);
  }
  if (progress) progress(num_samples);
  const auto all = static_cast<double>(num_samples);
  writer.commit({.split_rule = "samples of their own",
                 .validation_fraction = static_cast<double>(options.num_validation_samples) / all,
                 .seed = options.task.seed,
                 .task = to_json(options.task)});
  return result;
}

}  // namespace rondo

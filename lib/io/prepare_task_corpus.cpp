// SPDX-License-Identifier: Apache-2.0
#include "io/prepare_task_corpus.hpp"

#include <bit>
#include <nlohmann/json.hpp>

#include "core/error.hpp"
#include "core/random.hpp"
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

/// Throws ConfigError unless `shortest` is task.tokens halved any number of times, and there are samples of that length.
void check_shortest(const TaskOptions& task, std::int64_t shortest) {
  const bool divides = shortest > 0 && task.tokens % shortest == 0;
  if (!divides || !std::has_single_bit(static_cast<std::uint64_t>(task.tokens / shortest))) {
    throw ConfigError(
        "must be --tokens = " + std::to_string(task.tokens) + " halved several times, not " + std::to_string(shortest),
        "--shortest", "as in --shortest 4096 --tokens 32768, for samples of 4096, 8192, 16384 and 32768 tokens");
  }
  TaskOptions of_shortest = task;
  of_shortest.tokens = shortest;
  check(of_shortest, "--shortest");
}

/// The tokens per sample at this place of a split. A length is drawn with a probability proportional to it, and the number of
/// samples in a place is inversely proportional to it.
std::int64_t sample_tokens_at(const TaskCorpusOptions& options, Split split, std::int64_t place) {
  if (options.shortest_tokens == 0) return options.task.tokens;
  const CounterRandom random(options.task.seed,
                             stream_of("prepare_task_corpus.lengths." + std::string(name_of(split))));
  const auto longest = static_cast<std::uint64_t>(options.task.tokens / options.shortest_tokens);
  const std::uint64_t draw = 1 + random.bits(static_cast<std::uint64_t>(place)) % (2 * longest - 1);
  return options.shortest_tokens * static_cast<std::int64_t>(std::bit_floor(draw));
}

}  // namespace

std::string to_json(const TaskCorpusOptions& options) {
  auto json = nlohmann::ordered_json::parse(to_json(options.task));
  if (options.shortest_tokens != 0) json["shortest_tokens"] = options.shortest_tokens;
  return json.dump();
}

TaskCorpusResult prepare_task_corpus(const TaskCorpusOptions& options,
                                     const std::function<void(std::int64_t done)>& progress) {
  check(options.task);
  if (options.shortest_tokens != 0) check_shortest(options.task, options.shortest_tokens);
  require_samples(options.num_samples, 1, "--samples");
  require_samples(options.num_validation_samples, 0, "--validation-samples");
  CorpusWriter writer(options.output, *tokenizer_of(options.task), TargetRecord::Ranges);
  TaskCorpusResult result;
  std::vector<std::uint32_t> tokens;
  std::vector<std::byte> narrow;
  std::int64_t done = 0, tokens_since_tick = 0;
  const auto write_sample = [&](Split split, const TaskOptions& task, SampleSplit samples, std::int64_t index) {
    const TaskSample sample = make_sample(task, samples, index);
    tokens.assign(sample.tokens.begin(), sample.tokens.end());
    narrow_tokens(tokens, writer.token_type(), narrow);
    writer.append(split, narrow);
    for (const TaskAnswer& answer : sample.answers) {
      writer.add_targets(split, answer.first, answer.num_tokens);
      (split == Split::Train ? result.num_train_targets : result.num_validation_targets) += answer.num_tokens;
    }
    writer.end_document(split, std::string(name_of(task.task)) + " sample " + std::to_string(index));
  };
  /// @returns the number of samples
  const auto write_split = [&](Split split, SampleSplit samples, std::int64_t num_places) {
    std::int64_t index = 0;
    for (std::int64_t place = 0; place < num_places; ++place) {
      TaskOptions task = options.task;
      task.tokens = sample_tokens_at(options, split, place);
      const std::int64_t end = index + options.task.tokens / task.tokens;
      for (; index < end; ++index) write_sample(split, task, samples, index);
      ++done;
      tokens_since_tick += options.task.tokens;
      if (tokens_since_tick < kTokensPerTick) continue;
      tokens_since_tick = 0;
      if (progress) progress(done);
    }
    return index;
  };
  result.num_train_samples = write_split(Split::Train, SampleSplit::Train, options.num_samples);
  result.num_validation_samples =
      write_split(Split::Validation, SampleSplit::Validation, options.num_validation_samples);
  if (!options.task.has_pairs()) {
    result.validation_passkeys_seen = share_of_passkeys_seen(options.task, SampleSplit::Validation,
                                                             result.num_validation_samples, result.num_train_samples);
  }
  if (progress) progress(done);
  writer.commit({.split_rule = "samples of their own",
                 .validation_fraction = static_cast<double>(options.num_validation_samples) / static_cast<double>(done),
                 .seed = options.task.seed,
                 .task = to_json(options)});
  return result;
}

}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
// Generates the samples of long-range tasks: what is drawn, and where it is put.
#include <array>
#include <cmath>
#include <unordered_set>
#include <utility>

#include "core/random.hpp"
#include "io/long_range_layout.hpp"

namespace rondo {

namespace {

/// The random numbers of one sample for one purpose, one after the other.
class Draws {
 public:
  Draws(std::uint64_t sample_seed, std::string_view purpose) : random_(sample_seed, stream_of(purpose)) {}
  /// From 0 to size - 1. The bias of the remainder is below size / 2^64.
  std::int64_t below(std::int64_t size) {
    return static_cast<std::int64_t>(random_.bits(next_++) % static_cast<std::uint64_t>(size));
  }

 private:
  CounterRandom random_;
  std::uint64_t next_ = 0;
};

std::string_view split_name(SampleSplit split) {
  switch (split) {
    case SampleSplit::Train: return "train";
    case SampleSplit::Validation: return "validation";
    case SampleSplit::Test: return "test";
  }
  return "test";
}

std::uint64_t seed_of_sample(const TaskOptions& options, SampleSplit split, std::int64_t index) {
  const std::uint64_t stream = stream_of("long_range_task." + std::string(split_name(split)));
  return CounterRandom(options.seed, stream).bits(static_cast<std::uint64_t>(index));
}

/// How many filler tokens lie before each of `count` things: ascending, and uniform over all choices from `first` to `last`.
std::vector<std::int64_t> draw_places(std::int64_t first, std::int64_t last, std::int64_t count,
                                      std::uint64_t sample_seed, std::string_view purpose) {
  // Places may be equal: draw distinct ones from a range that is larger by count - 1, and subtract i from the i-th.
  const RandomPermutation order(static_cast<std::uint64_t>(last - first + count), sample_seed, stream_of(purpose));
  std::vector<std::int64_t> places;
  for (std::int64_t i = 0; i < count; ++i) {
    places.push_back(first + static_cast<std::int64_t>(order(static_cast<std::uint64_t>(i))));
  }
  std::ranges::sort(places);
  for (std::int64_t i = 0; i < count; ++i) places[static_cast<std::size_t>(i)] -= i;
  return places;
}

/// The same for statements among `num_filler` tokens before the question, at the requested depths.
std::vector<std::int64_t> places_of_statements(const TaskOptions& options, std::int64_t num_filler, std::int64_t count,
                                               std::uint64_t sample_seed) {
  const auto room = static_cast<double>(num_filler - least_filler_behind(options));
  return draw_places(std::llround(options.depth_first * room), std::llround(options.depth_last * room), count,
                     sample_seed, "task.places");
}

/// Fills tokens [first, end) with filler.
void fill(const TaskOptions& options, std::uint64_t sample_seed, std::int64_t first, std::int64_t end,
          std::vector<std::int32_t>& tokens) {
  const auto ids = static_cast<std::uint64_t>(options.filler_ids);
  const CounterRandom random(sample_seed, stream_of("task.filler"));
  std::array<std::uint32_t, 4> block{};
  for (std::int64_t i = first; i < end; ++i) {
    std::int32_t& token = tokens[static_cast<std::size_t>(i)];
    if (options.filler == Filler::Sentence) {
      token = static_cast<std::int32_t>((i - first) % options.filler_ids);
      continue;
    }
    if (i == first || i % 4 == 0) block = random.block(static_cast<std::uint64_t>(i / 4));  // four tokens per block
    token = static_cast<std::int32_t>(block[static_cast<std::size_t>(i % 4)] * ids >> 32);
  }
}

std::int64_t draw_text_key(std::uint64_t sample_seed) {
  return 1 + Draws(sample_seed, "task.key").below(PasskeyText::kLargestKey);
}

std::vector<std::int64_t> draw_digits(const TaskOptions& options, std::uint64_t sample_seed) {
  Draws draws(sample_seed, "task.key");
  std::vector<std::int64_t> digits;
  for (std::int64_t i = 0; i < options.digits; ++i) digits.push_back(draws.below(kDigitIds));
  return digits;
}

std::string joined(std::initializer_list<std::string_view> parts) {
  std::string text;
  for (const std::string_view part : parts) text += part;
  return text;
}

std::string filler_text(std::int64_t num_bytes) {
  std::string text;
  text.reserve(static_cast<std::size_t>(num_bytes) + PasskeyText::kFillerSentences.size());
  while (num_text_tokens(text) < num_bytes) text += PasskeyText::kFillerSentences;
  text.resize(static_cast<std::size_t>(num_bytes));
  return text;
}

TaskSample text_sample(const TaskOptions& options, std::uint64_t sample_seed) {
  const std::string key = std::to_string(draw_text_key(sample_seed));
  const std::string statement =
      joined({PasskeyText::kKeyBegins, key, PasskeyText::kKeyRepeats, key, PasskeyText::kKeyEnds});
  const std::string question =
      joined({PasskeyText::kQuestionLine, PasskeyText::kBeforeAnswer, key, PasskeyText::kAfterAnswer});
  const std::int64_t num_filler = options.tokens - num_text_tokens(PasskeyText::kTaskLine) -
                                  num_text_tokens(statement) - num_text_tokens(question) - PasskeyText::kEndsOfLines;
  const std::int64_t before = places_of_statements(options, num_filler, 1, sample_seed).front();

  const std::string head = joined({PasskeyText::kTaskLine, filler_text(before), "\n"});
  const std::string text = joined({head, statement, "\n", filler_text(num_filler - before), "\n", question});
  const std::int64_t said = num_text_tokens(head),
                     answer_tokens = num_text_tokens(key) + num_text_tokens(PasskeyText::kAfterAnswer);
  TaskSample sample;
  sample.tokens.reserve(text.size());
  for (const char c : text) sample.tokens.push_back(static_cast<unsigned char>(c));
  sample.statements.push_back(
      {said, said + num_text_tokens(statement), said + num_text_tokens(PasskeyText::kKeyBegins), 0});
  sample.answers.push_back({num_text_tokens(text) - answer_tokens, answer_tokens, num_text_tokens(key), 0, 1});
  sample.question_first = num_text_tokens(text) - num_text_tokens(question);
  return sample;
}

TaskSample passkey_sample(const TaskOptions& options, std::uint64_t sample_seed) {
  const std::int64_t length = question_tokens_of(options), question = options.tokens - length;
  const std::int64_t said = places_of_statements(options, question - length, 1, sample_seed).front();
  const std::vector<std::int64_t> digits = draw_digits(options, sample_seed);
  TaskSample sample;
  sample.tokens.resize(static_cast<std::size_t>(options.tokens));
  for (const std::int64_t mark : {said, question}) {
    sample.tokens[static_cast<std::size_t>(mark)] = static_cast<std::int32_t>(options.filler_ids + kDigitIds);
    for (std::int64_t i = 0; i < options.digits; ++i) {
      sample.tokens[static_cast<std::size_t>(mark + 1 + i)] =
          static_cast<std::int32_t>(options.filler_ids + digits[static_cast<std::size_t>(i)]);
    }
  }
  fill(options, sample_seed, 0, said, sample.tokens);
  fill(options, sample_seed, said + length, question, sample.tokens);
  sample.statements.push_back({said, said + length, said + 1, 0});
  sample.answers.push_back({question + 1, options.digits, options.digits, 0, 1});
  sample.question_first = question;
  return sample;
}

/// One sample of recall or rewrite, from its first token to its last.
class PairSampler {
 public:
  PairSampler(const TaskOptions& options, std::uint64_t sample_seed)
      : options_(options),
        seed_(sample_seed),
        keys_(static_cast<std::uint64_t>(options.keys), sample_seed, stream_of("task.keys")),
        last_statement_(static_cast<std::size_t>(options.pairs)),
        num_writes_(static_cast<std::size_t>(options.pairs)) {}

  TaskSample make() {
    sample_.question_first = options_.tokens - question_tokens_of(options_);
    sample_.tokens.resize(static_cast<std::size_t>(options_.tokens));
    write_pairs(order_of_subjects());
    ask();
    fill(options_, seed_, done_, options_.tokens, sample_.tokens);
    return std::move(sample_);
  }

 private:
  /// The subject of every statement: each as often as its key is written, in random order.
  std::vector<std::int64_t> order_of_subjects() {
    Draws draws(seed_, "task.writes");
    const bool rewrites = options_.task == LongRangeTask::Rewrite;
    std::vector<std::int64_t> subjects;
    for (std::int64_t subject = 0; subject < options_.pairs; ++subject) {
      const std::int64_t writes =
          rewrites ? options_.least_writes + draws.below(options_.most_writes - options_.least_writes + 1) : 1;
      subjects.insert(subjects.end(), static_cast<std::size_t>(writes), subject);
    }
    for (std::size_t i = subjects.size(); i > 1; --i) {
      std::swap(subjects[i - 1], subjects[static_cast<std::size_t>(draws.below(static_cast<std::int64_t>(i)))]);
    }
    return subjects;
  }

  void write_pairs(const std::vector<std::int64_t>& subjects) {
    const auto count = static_cast<std::int64_t>(subjects.size());
    const std::vector<std::int64_t> places =
        places_of_statements(options_, sample_.question_first - kPairTokens * count, count, seed_);
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t first = places[static_cast<std::size_t>(i)] + kPairTokens * i;
      const std::int64_t subject = subjects[static_cast<std::size_t>(i)];
      put_pair(first, subject, num_writes_[static_cast<std::size_t>(subject)]++);
      last_statement_[static_cast<std::size_t>(subject)] = i;
      sample_.statements.push_back({first, first + kPairTokens, first + 1, subject});
    }
  }

  void ask() {
    const std::int64_t queries = options_.num_queries();
    const std::int64_t room = question_tokens_of(options_) - kPairTokens * queries;
    const RandomPermutation asked(static_cast<std::uint64_t>(options_.pairs), seed_, stream_of("task.asked"));
    const std::vector<std::int64_t> places = draw_places(0, room, queries, seed_, "task.questions");
    for (std::int64_t i = 0; i < queries; ++i) {
      const auto subject = static_cast<std::int64_t>(asked(static_cast<std::uint64_t>(i)));
      const std::int64_t first = sample_.question_first + places[static_cast<std::size_t>(i)] + kPairTokens * i;
      const std::int64_t writes = num_writes_[static_cast<std::size_t>(subject)];
      put_pair(first, subject, writes - 1);
      sample_.answers.push_back({first + 1, 1, 1, last_statement_[static_cast<std::size_t>(subject)], writes});
    }
  }

  /// Writes the subject's key with the value of its n-th write, and the filler before it.
  void put_pair(std::int64_t first, std::int64_t subject, std::int64_t write) {
    // The values of one key differ; those of different keys are independent, so none gives information about another.
    const RandomPermutation values(static_cast<std::uint64_t>(options_.values), seed_,
                                   stream_of("task.values") + static_cast<std::uint64_t>(subject));
    fill(options_, seed_, done_, first, sample_.tokens);
    done_ = first + kPairTokens;
    const auto key = static_cast<std::int64_t>(keys_(static_cast<std::uint64_t>(subject)));
    const auto value = static_cast<std::int64_t>(values(static_cast<std::uint64_t>(write)));
    sample_.tokens[static_cast<std::size_t>(first)] = static_cast<std::int32_t>(options_.filler_ids + key);
    sample_.tokens[static_cast<std::size_t>(first + 1)] =
        static_cast<std::int32_t>(options_.filler_ids + options_.keys + value);
  }

  const TaskOptions& options_;
  std::uint64_t seed_;
  RandomPermutation keys_;
  std::vector<std::int64_t> last_statement_, num_writes_;  // by subject
  std::int64_t done_ = 0;                                  // tokens before this one are final
  TaskSample sample_;
};

}  // namespace

TaskSample make_sample(const TaskOptions& options, SampleSplit split, std::int64_t index) {
  const std::uint64_t sample_seed = seed_of_sample(options, split, index);
  if (options.is_text()) return text_sample(options, sample_seed);
  if (options.task == LongRangeTask::Passkey) return passkey_sample(options, sample_seed);
  return PairSampler(options, sample_seed).make();
}

std::int64_t passkey_of(const TaskOptions& options, SampleSplit split, std::int64_t index) {
  const std::uint64_t sample_seed = seed_of_sample(options, split, index);
  if (options.is_text()) return draw_text_key(sample_seed);
  std::int64_t key = 0;
  for (const std::int64_t digit : draw_digits(options, sample_seed)) key = 10 * key + digit;
  return key;
}

double share_of_passkeys_seen(const TaskOptions& options, SampleSplit split, std::int64_t num_samples,
                              std::int64_t num_train) {
  if (num_samples == 0) return 0;
  std::unordered_set<std::int64_t> seen;
  for (std::int64_t i = 0; i < num_train; ++i) seen.insert(passkey_of(options, SampleSplit::Train, i));
  std::int64_t num_seen = 0;
  for (std::int64_t i = 0; i < num_samples; ++i) num_seen += seen.contains(passkey_of(options, split, i)) ? 1 : 0;
  return static_cast<double>(num_seen) / static_cast<double>(num_samples);
}

}  // namespace rondo

// SPDX-License-Identifier: Apache-2.0
// A corpus of a long-range task is its samples, one a document, and there in full or not at all.
#include "io/prepare_task_corpus.hpp"

#include <cmath>
#include <map>

#include "tests/io/corpus_files.hpp"

namespace rondo::test {
namespace {

class PrepareTaskCorpus : public CorpusFiles {
 protected:
  TaskCorpusOptions options(LongRangeTask task, std::int64_t tokens = 400) const {
    return {.task = {.task = task, .tokens = tokens, .seed = 3},
            .num_samples = 7,
            .num_validation_samples = 3,
            .output = path("corpus.h5")};
  }
};

TEST_F(PrepareTaskCorpus, HoldsTheSamplesAndTheirAnswers) {
  for (const LongRangeTask task :
       {LongRangeTask::PasskeyText, LongRangeTask::Passkey, LongRangeTask::Recall, LongRangeTask::Rewrite}) {
    const TaskCorpusOptions wanted = options(task, 700);
    const TaskCorpusResult result = prepare_task_corpus(wanted, {});
    const TokenCorpus corpus(path("corpus.h5"));
    EXPECT_EQ(corpus.task(), to_json(wanted.task));
    EXPECT_EQ(corpus.tokenizer_digest(), tokenizer_of(wanted.task)->digest());
    for (const auto& [split, samples, count] :
         {std::tuple{Split::Train, SampleSplit::Train, 7}, std::tuple{Split::Validation, SampleSplit::Validation, 3}}) {
      std::vector<std::int32_t> tokens;
      std::vector<std::int64_t> targets, recorded;
      for (std::int64_t i = 0; i < count; ++i) {
        const TaskSample sample = make_sample(wanted.task, samples, i);
        for (const TaskAnswer& answer : sample.answers) {
          for (std::int64_t t = 0; t < answer.num_tokens; ++t) targets.push_back(700 * i + answer.first + t);
        }
        tokens.insert(tokens.end(), sample.tokens.begin(), sample.tokens.end());
      }
      for (const TargetRange& range : corpus.target_ranges(split)) {
        for (std::int64_t position = range.first; position < range.end; ++position) recorded.push_back(position);
      }
      EXPECT_EQ(all_tokens(corpus, split), tokens) << name_of(task);
      EXPECT_EQ(recorded, targets) << name_of(task);
      EXPECT_EQ(corpus.num_documents(split), count);
      EXPECT_EQ(split == Split::Train ? result.num_train_targets : result.num_validation_targets, std::ssize(targets));
    }
    EXPECT_GT(verify_corpus(path("corpus.h5")), 0);
  }
}

TEST_F(PrepareTaskCorpus, MixesSamplesOfAllLengthsInPlacesOfTheLongest) {
  TaskCorpusOptions wanted = options(LongRangeTask::Passkey, 320);
  wanted.task.digits = 2;
  wanted.shortest_tokens = 40;
  wanted.num_samples = 3000;
  wanted.num_validation_samples = 60;
  const TaskCorpusResult result = prepare_task_corpus(wanted, {});
  const TokenCorpus corpus(path("corpus.h5"));
  EXPECT_NE(corpus.task().find("\"shortest_tokens\":40"), std::string::npos) << corpus.task();
  EXPECT_EQ(corpus.num_tokens(Split::Train), 3000 * 320);
  EXPECT_EQ(corpus.num_documents(Split::Train), result.num_train_samples);
  EXPECT_EQ(corpus.num_documents(Split::Validation), result.num_validation_samples);
  EXPECT_EQ(result.num_train_targets, 2 * result.num_train_samples);
  EXPECT_EQ(result.validation_passkeys_seen, 1) << "more samples than keys";

  const std::vector<std::int32_t> tokens = all_tokens(corpus, Split::Train);
  std::map<std::int64_t, double> num_places;
  const std::span<const std::int64_t> offsets = corpus.document_offsets(Split::Train);
  for (std::int64_t index = 0; index < corpus.num_documents(Split::Train); ++index) {
    const std::int64_t first = offsets[static_cast<std::size_t>(index)];
    const std::int64_t length = offsets[static_cast<std::size_t>(index) + 1] - first;
    ASSERT_LE(first % 320 + length, 320) << "sample " << index << " lies in one place";
    TaskOptions task = wanted.task;
    task.tokens = length;
    const auto begin = tokens.begin() + first;
    ASSERT_EQ(std::vector(begin, begin + length), make_sample(task, SampleSplit::Train, index).tokens) << index;
    num_places[length] += static_cast<double>(length) / 320;
  }
  ASSERT_EQ(num_places.size(), 4u);
  for (const auto& [length, places] : num_places) {  // as many samples of each length, within 4 standard deviations
    const double share = static_cast<double>(length) / (40 + 80 + 160 + 320);
    EXPECT_NEAR(places, 3000 * share, 4 * std::sqrt(3000 * share * (1 - share))) << length << " tokens";
  }
}

TEST_F(PrepareTaskCorpus, LeavesTheOldCorpusAndNothingElseWhenStopped) {
  prepare({write("a.txt", "the old corpus")}, "bytes", 0);
  TaskCorpusOptions wanted = options(LongRangeTask::Recall, 1 << 18);
  std::int64_t largest = 0;
  const auto stop = [&](std::int64_t done) {
    largest = done;
    throw DataError("enough");
  };
  EXPECT_EQ(complaint([&] { prepare_task_corpus(wanted, stop); }), "enough");
  EXPECT_EQ(largest, 4) << "after a Mi of tokens";
  wanted.num_samples = 0;
  EXPECT_NE(complaint([&] { prepare_task_corpus(wanted, {}); }).find("--samples"), std::string::npos);
  EXPECT_EQ(files_left(), (std::vector<std::string>{"a.txt", "corpus.h5"}));
  EXPECT_EQ(all_text(TokenCorpus(path("corpus.h5")), Split::Train), "the old corpus");
}

}  // namespace
}  // namespace rondo::test

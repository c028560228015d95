// SPDX-License-Identifier: Apache-2.0
// A corpus of a long-range task is its samples, one a document, and there in full or not at all.
#include "io/prepare_task_corpus.hpp"

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

TEST_F(PrepareTaskCorpus, LeavesTheOldCorpusAndNothingElseWhenStopped) {
  prepare({write("a.txt", "the old corpus")}, "bytes", 0);
  TaskCorpusOptions wanted = options(LongRangeTask::Recall, 1 << 18);
  std::int64_t largest = 0;
  const auto stop = [&](std::int64_t num_samples) {
    largest = num_samples;
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

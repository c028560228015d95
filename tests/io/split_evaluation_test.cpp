// SPDX-License-Identifier: Apache-2.0
#include "io/split_evaluation.hpp"

#include <gmock/gmock.h>

#include "io/tokenizers.hpp"
#include "tests/io/corpus_files.hpp"

namespace rondo::test {
namespace {

using ::testing::HasSubstr;

class SplitEvaluationTest : public CorpusFiles {
 protected:
  /// corpus.h5 with these validation documents; the training part has one of its own.
  void write_corpus(const std::vector<std::string>& documents, TargetRecord targets = TargetRecord::None) const {
    const DnaTokenizer tokenizer;
    CorpusWriter writer(path("corpus.h5"), tokenizer, targets);
    const auto append = [&](Split split, const std::string& text) {
      const std::vector<std::int32_t> ids = tokenizer.encode(text);
      std::vector<std::byte> narrow;
      narrow_tokens(std::vector<std::uint32_t>(ids.begin(), ids.end()), writer.token_type(), narrow);
      writer.append(split, narrow);
      writer.end_document(split, "document");
    };
    append(Split::Train, "ACGT");
    for (const std::string& document : documents) append(Split::Validation, document);
    writer.commit({.split_rule = "by the test", .validation_fraction = 0.5, .seed = 0});
  }
  /// What the problem says, with where and what to do; "none" when there is none.
  std::string problem(const SplitEvaluation& evaluation) const {
    const auto found = evaluation_problem(TokenCorpus(path("corpus.h5")), Split::Validation, evaluation);
    return found ? found->what() : "none";
  }
  std::string problem_at_all() const {
    const auto found = evaluation_problem(TokenCorpus(path("corpus.h5")), Split::Validation);
    return found ? found->what() : "none";
  }
};

TEST_F(SplitEvaluationTest, FindsTheOneTokenThatCanBePredicted) {
  write_corpus({"NNNN", "N", "NNNA"});
  EXPECT_EQ(problem({.sequence_length = 4}), "none");
  EXPECT_EQ(problem({.sequence_length = 100}), "none");
  EXPECT_EQ(problem_at_all(), "none");
}

TEST_F(SplitEvaluationTest, NamesAnEmptySplit) {
  write_corpus({});
  EXPECT_THAT(problem({.sequence_length = 4}),
              HasSubstr("corpus.h5:validation: nothing to evaluate: the split is empty"));
  EXPECT_THAT(problem_at_all(), HasSubstr("--validation"));
}

TEST_F(SplitEvaluationTest, NamesDocumentsOfOneToken) {
  write_corpus({"A", "C", "G"});
  EXPECT_THAT(problem({.sequence_length = 2}), HasSubstr("3 tokens of 3 documents, but each document has one token"));
  EXPECT_THAT(problem_at_all(), HasSubstr("each document has one token"));
  EXPECT_EQ(problem({.sequence_length = 2, .isolate_documents = false}), "none") << "documents then predict each other";
  write_corpus({"A"});
  EXPECT_THAT(problem({.sequence_length = 2, .isolate_documents = false}), HasSubstr("has one token"));
}

TEST_F(SplitEvaluationTest, NamesTokensThatTheTokenizerDoesNotPredict) {
  write_corpus({"ANNN", "CN"});
  EXPECT_THAT(problem({.sequence_length = 100}), HasSubstr("bases that are not known"));
}

TEST_F(SplitEvaluationTest, NamesTargetsThatAreNotRecorded) {
  write_corpus({"ACGT"}, TargetRecord::Ranges);
  EXPECT_THAT(problem({.sequence_length = 100}), HasSubstr("records no token that follows another as a target"));
}

TEST_F(SplitEvaluationTest, NamesSequencesWithFewerTokensThanTheirRingHasRanks) {
  write_corpus({"ACG"});
  EXPECT_EQ(problem({.sequence_length = 100, .ring = 3}), "none");
  const std::string said = problem({.sequence_length = 100, .ring = 4});
  EXPECT_THAT(said, HasSubstr("a sequence of 3 tokens is too short for the 4 ranks that share it"));
  EXPECT_THAT(said, HasSubstr("at most 3 ranks in a ring (parallel.ring)"));
  // The last sequence, the only one with a target, has two tokens.
  write_corpus({"NNNNNA"});
  EXPECT_EQ(problem({.sequence_length = 4, .ring = 2}), "none");
  EXPECT_THAT(problem({.sequence_length = 4, .ring = 3}), HasSubstr("nothing to evaluate"));
}

TEST_F(SplitEvaluationTest, NamesSequencesThatWereChosenBadly) {
  write_corpus({"NNNNNNNNACGT"});
  EXPECT_EQ(problem({.sequence_length = 4}), "none");
  const std::string said = problem({.sequence_length = 4, .max_sequences = 1});
  EXPECT_THAT(said, HasSubstr("the 1 of its 3 sequences that are evaluated have no token to predict"));
  EXPECT_THAT(said, HasSubstr("evaluate.sequences"));
  EXPECT_EQ(problem({.sequence_length = 4, .max_sequences = 3}), "none");
}

// Longer than the piece that is read at once.
TEST_F(SplitEvaluationTest, ReadsLongSequencesToTheirEnd) {
  write_corpus({std::string(150'000, 'N') + "A"});
  EXPECT_EQ(problem({.sequence_length = 1'000'000}), "none");
  EXPECT_EQ(problem_at_all(), "none");
}

}  // namespace
}  // namespace rondo::test

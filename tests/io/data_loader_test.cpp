// SPDX-License-Identifier: Apache-2.0
// The loader: a pure function of the sequence's index, the same union over ranks for every layout, labels
// shifted globally.
#include "io/data_loader.hpp"

#include <limits>
#include <map>
#include <set>

#include "core/sequence_layout.hpp"
#include "tests/io/corpus_files.hpp"

namespace rondo::test {
namespace {

class DataLoaderOnCorpus : public CorpusFiles {
 protected:
  /// Documents of these lengths, with the ids 0, 1, 2, ... through the whole stream: a token tells its
  /// position.
  TokenCorpus counting_corpus(const std::vector<std::int64_t>& lengths) {
    std::int64_t next = 0;
    std::string lines;
    for (std::int64_t length : lengths) {
      lines += "{\"text\": [";
      for (std::int64_t i = 0; i < length; ++i) lines += (i > 0 ? "," : "") + std::to_string(next++);
      lines += "]}\n";
    }
    vocabulary_ = next;
    prepare({write("counting.jsonl", lines)}, "ids", 0);
    return TokenCorpus(path("corpus.h5"));
  }

  static LoadedSequence whole(const DataLoader& loader, std::int64_t index) {
    return loader.load(index, TokenRuns::contiguous(0, loader.sequence_tokens(index)));
  }

  /// Puts the shards of all ranks together in global order.
  static LoadedSequence joined(const DataLoader& loader, std::int64_t index, int ring, LayoutKind kind) {
    const SequenceLayout layout(loader.sequence_tokens(index), ring, kind);
    LoadedSequence all;
    all.tokens.resize(static_cast<std::size_t>(layout.span_tokens()), -7);
    all.targets.resize(all.tokens.size(), -7);
    for (int rank = 0; rank < ring; ++rank) {
      const TokenRuns runs = layout.runs(rank);
      const LoadedSequence shard = loader.load(index, runs);
      for (std::int64_t local = 0; local < runs.num_tokens(); ++local) {
        all.tokens[static_cast<std::size_t>(runs.global_of(local))] = shard.tokens[static_cast<std::size_t>(local)];
        all.targets[static_cast<std::size_t>(runs.global_of(local))] = shard.targets[static_cast<std::size_t>(local)];
      }
      all.documents = shard.documents;
      all.document_offsets = shard.document_offsets;
      all.num_targets_local += shard.num_targets_local;
    }
    return all;
  }
};

void expect_equal(const LoadedSequence& a, const LoadedSequence& b, const std::string& what) {
  EXPECT_EQ(a.tokens, b.tokens) << what;
  EXPECT_EQ(a.targets, b.targets) << what;
  EXPECT_EQ(a.documents, b.documents) << what;
  EXPECT_EQ(a.document_offsets, b.document_offsets) << what;
  EXPECT_EQ(a.num_targets_local, b.num_targets_local) << what;
}

TEST_F(DataLoaderOnCorpus, GivesEveryRingTheSameSequence) {
  const TokenCorpus corpus = counting_corpus({1, 40, 2, 1, 1, 60, 17});
  for (bool isolate : {true, false}) {
    const DataLoader loader(corpus, Split::Train,
                            {.sequence_length = 37, .seed = 3, .isolate_documents = isolate, .shuffle = true});
    for (std::int64_t index : {0, 1, 2, 5, 1000}) {
      const LoadedSequence alone = whole(loader, index);
      for (LayoutKind kind : kLayoutKinds) {
        for (int ring : {1, 2, 3, 4, 5, 8, 37}) {
          if (kind == LayoutKind::Zigzag && 2 * ring > 37 && ring != 37) continue;
          expect_equal(joined(loader, index, ring, kind), alone,
                       std::string(name_of(kind)) + " over " + std::to_string(ring));
        }
      }
    }
  }
}

TEST_F(DataLoaderOnCorpus, SpreadsPiecesLongerThanOneReadAlike) {
  const TokenCorpus corpus = counting_corpus({30000, 1, 9000});
  const DataLoader loader(corpus, Split::Train, {.sequence_length = 35000, .seed = 1});
  const LoadedSequence alone = whole(loader, 4);
  for (int ring : {2, 3, 9000}) expect_equal(joined(loader, 4, ring, LayoutKind::Striped), alone, std::to_string(ring));
  expect_equal(joined(loader, 4, 3, LayoutKind::Contiguous), alone, "contiguous");
}

TEST_F(DataLoaderOnCorpus, LabelsAreTheNextTokenOfTheDocumentAcrossEveryBorder) {
  const std::vector<std::int64_t> lengths{5, 30, 1, 64};
  const TokenCorpus corpus = counting_corpus(lengths);
  const std::set<std::int32_t> last_of_document{4, 34, 35, 99};
  const DataLoader loader(corpus, Split::Train, {.sequence_length = 10, .seed = 5});
  for (std::int64_t index = 0; index < 30; ++index) {
    const LoadedSequence sequence = joined(loader, index, 4, LayoutKind::Zigzag);
    std::int64_t num_targets = 0;
    for (std::size_t i = 0; i < sequence.tokens.size(); ++i) {
      const bool ends = last_of_document.contains(sequence.tokens[i]);
      EXPECT_EQ(sequence.targets[i], ends ? kNoTarget : sequence.tokens[i] + 1);
      num_targets += ends ? 0 : 1;
    }
    EXPECT_EQ(sequence.num_targets_local, num_targets);
  }
}

TEST_F(DataLoaderOnCorpus, WithoutIsolationOnlyTheEndOfTheStreamHasNoLabel) {
  const TokenCorpus corpus = counting_corpus({5, 30, 1, 64});
  const DataLoader loader(corpus, Split::Train, {.sequence_length = 10, .seed = 5, .isolate_documents = false});
  for (std::int64_t index = 0; index < 30; ++index) {
    const LoadedSequence sequence = whole(loader, index);
    for (std::size_t i = 0; i < sequence.tokens.size(); ++i) {
      EXPECT_EQ(sequence.targets[i], sequence.tokens[i] == 99 ? kNoTarget : sequence.tokens[i] + 1);
    }
    EXPECT_EQ(sequence.document_offsets, (std::vector<std::int64_t>{0, 10}));
  }
}

TEST_F(DataLoaderOnCorpus, SaysWhichDocumentIsWhere) {
  const std::vector<std::int64_t> lengths{5, 30, 1, 64};
  const TokenCorpus corpus = counting_corpus(lengths);
  const DataLoader loader(corpus, Split::Train, {.sequence_length = 40, .seed = 2});
  const auto offsets = corpus.document_offsets(Split::Train);
  for (std::int64_t index = 0; index < 20; ++index) {
    const LoadedSequence sequence = whole(loader, index);
    ASSERT_EQ(sequence.document_offsets.size(), sequence.documents.size() + 1);
    EXPECT_EQ(sequence.document_offsets.front(), 0);
    EXPECT_EQ(sequence.document_offsets.back(), 40);
    for (std::size_t i = 0; i < sequence.documents.size(); ++i) {
      const DocumentPosition& piece = sequence.documents[i];
      EXPECT_EQ(piece.first_position, sequence.document_offsets[i]);
      for (std::int64_t at = piece.first_position; at < sequence.document_offsets[i + 1]; ++at) {
        EXPECT_EQ(
            sequence.tokens[static_cast<std::size_t>(at)],
            offsets[static_cast<std::size_t>(piece.document)] + piece.offset_in_document + at - piece.first_position);
      }
    }
  }
}

TEST_F(DataLoaderOnCorpus, VisitsEveryWindowOfAnEpochOnce) {
  const TokenCorpus corpus = counting_corpus({103});
  const DataLoader loader(corpus, Split::Train, {.sequence_length = 10, .seed = 11});
  ASSERT_EQ(loader.sequences_per_epoch(), 10);
  std::set<std::int32_t> first_tokens;
  for (std::int64_t epoch = 0; epoch < 5; ++epoch) {
    std::map<std::int32_t, int> seen;
    for (std::int64_t i = 0; i < 10; ++i) {
      const LoadedSequence sequence = whole(loader, 10 * epoch + i);
      for (std::int32_t token : sequence.tokens) ++seen[token];
      if (i == 0) first_tokens.insert(sequence.tokens.front());
    }
    EXPECT_EQ(seen.size(), 100u) << "of 103 tokens, each at most once";
  }
  EXPECT_GT(first_tokens.size(), 2u) << "epochs begin at different phases";
}

TEST_F(DataLoaderOnCorpus, DependsOnTheSeedAndOnNothingElse) {
  const TokenCorpus corpus = counting_corpus({500, 300, 200});
  const DataLoader one(corpus, Split::Train, {.sequence_length = 10, .seed = 1});
  const DataLoader same(corpus, Split::Train, {.sequence_length = 10, .seed = 1});
  const DataLoader other(corpus, Split::Train, {.sequence_length = 10, .seed = 2});
  whole(one, 17);
  expect_equal(whole(one, 250), whole(same, 250), "what was loaded before does not matter");
  int differing = 0;
  for (std::int64_t index = 0; index < 10; ++index) differing += whole(one, index).tokens != whole(other, index).tokens;
  EXPECT_GE(differing, 8);
}

TEST_F(DataLoaderOnCorpus, TakesAnyIndexUpToTheLargest) {
  const TokenCorpus corpus = counting_corpus({50});
  const DataLoader loader(corpus, Split::Train, {.sequence_length = 7, .seed = 1});
  const LoadedSequence sequence = whole(loader, std::numeric_limits<std::int64_t>::max());
  for (std::size_t i = 0; i + 1 < sequence.tokens.size(); ++i) {
    EXPECT_EQ(sequence.tokens[i + 1], (sequence.tokens[i] + 1) % 50);
  }
}

TEST_F(DataLoaderOnCorpus, EvaluatesEveryTokenOnceWithAShorterLastSequence) {
  const TokenCorpus corpus = counting_corpus({20, 5});
  const DataLoader loader(corpus, Split::Train, {.sequence_length = 10, .seed = 1, .shuffle = false});
  ASSERT_EQ(loader.sequences_per_epoch(), 3);
  std::vector<std::int32_t> tokens;
  std::int64_t num_targets = 0;
  for (std::int64_t index = 0; index < 3; ++index) {
    const LoadedSequence sequence = whole(loader, index);
    tokens.insert(tokens.end(), sequence.tokens.begin(), sequence.tokens.end());
    num_targets += sequence.num_targets_local;
  }
  EXPECT_EQ(loader.sequence_tokens(1), 10);
  EXPECT_EQ(loader.sequence_tokens(2), 5);
  EXPECT_EQ(tokens, all_tokens(corpus, Split::Train));
  EXPECT_EQ(num_targets, 25 - 2) << "all but the last token of each document";
}

TEST_F(DataLoaderOnCorpus, NeverAsksForAnUnknownBase) {
  prepare({write("a.fa", ">one\nACNNGTRA\n")}, "dna", 0);
  const TokenCorpus corpus(path("corpus.h5"));
  const DataLoader loader(corpus, Split::Train, {.sequence_length = 8, .seed = 1, .shuffle = false});
  const LoadedSequence sequence = whole(loader, 0);
  EXPECT_EQ(sequence.tokens, (std::vector<std::int32_t>{0, 1, 4, 4, 2, 3, 4, 0}));
  EXPECT_EQ(sequence.targets, (std::vector<std::int32_t>{1, -1, -1, 2, 3, -1, 0, -1}));
  EXPECT_EQ(sequence.num_targets_local, 4);
  EXPECT_EQ(joined(loader, 0, 3, LayoutKind::Striped).num_targets_local, 4);
}

TEST_F(DataLoaderOnCorpus, LivesOnASingleByte) {
  prepare({write("one.txt", "x")}, "bytes", 0.02);
  const TokenCorpus corpus(path("corpus.h5"));
  const DataLoader loader(corpus, Split::Train, {.sequence_length = 1, .seed = 1});
  const LoadedSequence sequence = whole(loader, 3);
  EXPECT_EQ(sequence.tokens, std::vector<std::int32_t>{'x'});
  EXPECT_EQ(sequence.targets, std::vector<std::int32_t>{kNoTarget});
  EXPECT_EQ(sequence.num_targets_local, 0);
}

TEST_F(DataLoaderOnCorpus, RefusesACorpusShorterThanOneSequence) {
  const TokenCorpus corpus = counting_corpus({10});
  const auto refusal = complaint([&] { DataLoader(corpus, Split::Train, {.sequence_length = 11, .seed = 1}); });
  EXPECT_NE(refusal.find("data.sequence_length = 11"), std::string::npos) << refusal;
  EXPECT_NE(refusal.find("all 10 tokens"), std::string::npos) << refusal;
  EXPECT_NE(refusal.find("sequence_length of at most 10"), std::string::npos) << refusal;
  EXPECT_NE(complaint([&] { DataLoader(corpus, Split::Validation, {.sequence_length = 1}); }).find("no tokens"),
            std::string::npos);
  EXPECT_NE(complaint([&] { DataLoader(corpus, Split::Train, {.sequence_length = 0}); }).find("at least 1"),
            std::string::npos);
}

TEST_F(DataLoaderOnCorpus, AsksForRecordedTargetsOnly) {
  write_marked({{7, {{0, 1}, {2, 3}}}, {30, {{10, 1}, {29, 1}}}, {13, {{1, 1}}}});
  const std::set<std::int32_t> recorded{0, 2, 3, 4, 17, 36, 38};
  const TokenCorpus corpus(path("corpus.h5"));
  for (const bool isolate : {true, false}) {
    for (const bool shuffle : {true, false}) {
      const DataLoader loader(corpus, Split::Train,
                              {.sequence_length = 11, .seed = 5, .isolate_documents = isolate, .shuffle = shuffle});
      std::set<std::int32_t> asked;
      for (std::int64_t index = 0; index < (shuffle ? 40 : 5); ++index) {
        const LoadedSequence alone = whole(loader, index);
        std::int64_t num_targets = 0;
        for (std::size_t i = 0; i < alone.targets.size(); ++i) {
          const std::int32_t next = alone.tokens[i] + 1;
          // 0, at the start of its document, has no token before it that could ask for it
          EXPECT_EQ(alone.targets[i], recorded.contains(next) ? next : kNoTarget) << alone.tokens[i];
          if (alone.targets[i] == kNoTarget) continue;
          asked.insert(alone.targets[i]);
          ++num_targets;
        }
        EXPECT_EQ(alone.num_targets_local, num_targets);
        for (const LayoutKind kind : kLayoutKinds) {
          if (alone.tokens.size() == 11)
            expect_equal(joined(loader, index, 3, kind), alone, std::string(name_of(kind)));
        }
      }
      EXPECT_EQ(asked.size(), recorded.size() - 1);
    }
  }
}

TEST_F(DataLoaderOnCorpus, TakesWholeDocumentsInAnOrderOfTheEpoch) {
  const TokenCorpus corpus = counting_corpus({20, 12, 8, 20, 20, 20, 20, 7});
  const DataLoader loader(corpus, Split::Train, {.sequence_length = 20, .seed = 5, .whole_documents = true});
  ASSERT_EQ(loader.sequences_per_epoch(), 6);
  std::set<std::vector<std::int32_t>> orders;
  for (std::int64_t epoch = 0; epoch < 4; ++epoch) {
    std::vector<std::int32_t> firsts;
    for (std::int64_t i = 0; i < 6; ++i) {
      const LoadedSequence sequence = whole(loader, 6 * epoch + i);
      firsts.push_back(sequence.tokens.front());
      EXPECT_EQ(sequence.tokens.back(), sequence.tokens.front() + 19);
      EXPECT_EQ(sequence.targets.back(), kNoTarget);
      EXPECT_EQ(sequence.documents.size(), sequence.tokens.front() == 20 ? 2u : 1u);
      EXPECT_EQ(sequence.documents.front().offset_in_document, 0);
    }
    orders.insert(firsts);
    std::sort(firsts.begin(), firsts.end());
    EXPECT_EQ(firsts, (std::vector<std::int32_t>{0, 20, 40, 60, 80, 100}));
  }
  EXPECT_GT(orders.size(), 1u);
}

TEST_F(DataLoaderOnCorpus, RefusesDocumentsThatSequencesWouldCut) {
  const TokenCorpus corpus = counting_corpus({10, 5, 10, 15});
  const auto refusal =
      complaint([&] { DataLoader(corpus, Split::Train, {.sequence_length = 20, .seed = 1, .whole_documents = true}); });
  for (const char* words :
       {"document 2, ", "counting.jsonl:3, of 10 tokens from 15 on, is cut by sequences of 20 tokens",
        "corpus.h5:train", "set data.sequence_length to a multiple of"}) {
    EXPECT_NE(refusal.find(words), std::string::npos) << refusal;
  }
  EXPECT_EQ(
      complaint([&] { DataLoader(corpus, Split::Train, {.sequence_length = 40, .seed = 1, .whole_documents = true}); }),
      "accepted");
}

TEST_F(DataLoaderOnCorpus, DoesNotAllocateItsVectorsAgain) {
  std::vector<std::int64_t> lengths;
  for (int i = 0; i < 400; ++i) lengths.push_back(1 + (i * 7919) % 31);
  const TokenCorpus corpus = counting_corpus(lengths);
  const DataLoader loader(corpus, Split::Train, {.sequence_length = 200, .seed = 1});
  LoadedSequence sequence;
  const TokenRuns runs = TokenRuns::contiguous(0, 200);
  loader.load_into(0, runs, sequence);
  const auto* tokens = sequence.tokens.data();
  const auto* documents = sequence.documents.data();
  const auto* offsets = sequence.document_offsets.data();
  for (std::int64_t index = 1; index < 200; ++index) {
    loader.load_into(index, runs, sequence);
    ASSERT_EQ(sequence.tokens.data(), tokens);
    ASSERT_EQ(sequence.documents.data(), documents);
    ASSERT_EQ(sequence.document_offsets.data(), offsets);
  }
}

}  // namespace
}  // namespace rondo::test

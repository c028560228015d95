// SPDX-License-Identifier: Apache-2.0
// Sequences of a fixed length out of a corpus, as a pure function of a global index: any rank of any layout
// asks for its shard of sequence i and gets it, with labels, reading little else. No state, so nothing to
// save but the next index.
//
// A split is one stream, its documents in corpus order. Shuffled: an epoch cuts the stream into windows from
// a phase in [0, S) that its number draws, closing the stream to a circle, and visits them in an order that
// its number draws; the num_tokens mod S tokens before the phase wait for another epoch. With whole documents
// the phase is always 0 and no document crosses from window to window. Not shuffled: windows in order from 0; the last
// is shorter when the stream does not divide.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/token_runs.hpp"
#include "io/token_corpus.hpp"

namespace rondo {

/// The label of a token that has none: CrossEntropyArgs::kNoTarget.
inline constexpr std::int32_t kNoTarget = -1;

/// A piece of a document in a sequence.
struct DocumentPosition {
  std::int64_t document = 0;            ///< index in the split
  std::int64_t offset_in_document = 0;  ///< of its first token here
  std::int64_t first_position = 0;      ///< of that token in the sequence
  bool operator==(const DocumentPosition&) const = default;
};

struct LoadedSequence {
  std::vector<std::int32_t> tokens;   ///< in the local order of the runs
  std::vector<std::int32_t> targets;  ///< the token behind each in the stream, or kNoTarget where it is not asked for
  /// Ascending, first 0, last the sequence's tokens: where attention is cut. With documents not isolated only
  /// {0, S}.
  std::vector<std::int64_t> document_offsets;
  std::vector<DocumentPosition> documents;  ///< for records; the same on every rank
  /// Targets of this shard that are not kNoTarget. Which ids a tokenizer never predicts is known only where
  /// the tokens are, so the global number is the sum over ranks.
  std::int64_t num_targets_local = 0;
};

struct DataLoaderOptions {
  std::int64_t sequence_length = 0;
  std::uint64_t seed = 0;
  /// A document's last token has no label, and attention is cut there.
  bool isolate_documents = true;
  /// Training: endless epochs in random order. Otherwise: each token of the split once, in order.
  bool shuffle = true;
  /// Every sequence holds whole documents. The tokens behind the last whole sequence are then in no epoch.
  bool whole_documents = false;
};

/// Throws DataError, with the numbers, when the split is shorter than one sequence of `length` tokens.
void require_whole_sequence(const TokenCorpus& corpus, Split split, std::int64_t length);
/// Throws DataError, naming the document, when one crosses a multiple of `length` tokens of the split's stream.
void require_whole_documents(const TokenCorpus& corpus, Split split, std::int64_t length);

class DataLoader {
 public:
  /// @pre `corpus` outlives this. Throws DataError, with the numbers, when the split is shorter than one
  /// shuffled sequence, and when documents asked to be whole are not.
  DataLoader(const TokenCorpus& corpus, Split split, const DataLoaderOptions& options);

  /// num_tokens / S, rounded down when shuffled and up when not.
  std::int64_t sequences_per_epoch() const { return sequences_per_epoch_; }
  /// Of this sequence: S, or less for the last one of a split that is not shuffled. It may be shorter than
  /// the ring.
  std::int64_t sequence_tokens(std::int64_t sequence_index) const;

  /// @param runs  positions of the sequence, below sequence_tokens(sequence_index), e.g.
  /// SequenceLayout::runs(rank) Throws DataError when the corpus is damaged there.
  LoadedSequence load(std::int64_t sequence_index, const TokenRuns& runs) const;
  /// The same into existing memory, which is not allocated again while `runs` grow no larger.
  void load_into(std::int64_t sequence_index, const TokenRuns& runs, LoadedSequence& sequence) const;
  /// All memory that load_into() will ever take for shards of at most so many tokens.
  void reserve(std::int64_t shard_tokens, LoadedSequence& sequence) const;

 private:
  /// Position in the stream of the sequence's first token.
  std::int64_t stream_position_of(std::int64_t sequence_index) const;
  void find_documents(std::int64_t stream_first, std::int64_t length, LoadedSequence& sequence) const;
  void read_run(std::int64_t stream_first, const TokenRun& run, LoadedSequence& sequence) const;
  void read_stream(std::int64_t stream_first, std::span<std::int32_t> to) const;
  void drop_targets(std::int64_t length, const TokenRuns& runs, LoadedSequence& sequence) const;
  void keep_recorded_targets(std::int64_t stream_first, const TokenRuns& runs, LoadedSequence& sequence) const;
  std::int64_t max_documents_of_sequence() const;

  const TokenCorpus& corpus_;
  Split split_;
  DataLoaderOptions options_;
  std::int64_t num_tokens_ = 0;
  std::int64_t sequences_per_epoch_ = 0;
  std::int64_t max_documents_ = 0;  // of one sequence
  std::vector<bool> is_target_;     // [V]; empty: every id is
  mutable std::vector<std::int32_t> hull_;
};

}  // namespace rondo

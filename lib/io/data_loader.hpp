// SPDX-License-Identifier: Apache-2.0
// Sequences of a fixed length from a corpus, as a pure function of a global index: a rank of any layout loads its shard of
// sequence i, with targets, and reads little else. There is no state to save except the next index.
//
// A split is one stream, its documents in corpus order. Shuffled: each epoch treats the stream as a circle, cuts it into
// windows of S tokens from a random phase in [0, S), and visits them in random order; phase and order depend on the seed and
// the epoch's number. The num_tokens mod S tokens before the phase are left out of that epoch. With whole documents the phase
// is always 0 and no document crosses a window's boundary. Not shuffled: windows in order from 0; the last may be shorter.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/token_runs.hpp"
#include "io/token_corpus.hpp"

namespace rondo {

/// Marks a token without a target; equal to CrossEntropyArgs::kNoTarget.
inline constexpr std::int32_t kNoTarget = -1;

/// A piece of a document in a sequence.
struct DocumentPosition {
  std::int64_t document = 0;            ///< index in the split
  std::int64_t offset_in_document = 0;  ///< offset of the piece's first token in the document
  std::int64_t first_position = 0;      ///< position of that token in the sequence
  bool operator==(const DocumentPosition&) const = default;
};

struct LoadedSequence {
  std::vector<std::int32_t> tokens;   ///< in the local order of the runs
  std::vector<std::int32_t> targets;  ///< the next token of the stream, or kNoTarget where none is to be predicted
  /// Boundaries that attention does not cross: ascending, first 0, last the sequence's tokens. Only {0, S} when documents are
  /// not isolated.
  std::vector<std::int64_t> document_offsets;
  std::vector<DocumentPosition> documents;  ///< for records; the same on every rank
  /// Targets of this shard that are not kNoTarget; the global number is the sum over ranks, since it depends on the tokens.
  std::int64_t num_targets_local = 0;
};

struct DataLoaderOptions {
  std::int64_t sequence_length = 0;
  std::uint64_t seed = 0;
  /// A document's last token has no target, and attention does not cross documents.
  bool isolate_documents = true;
  /// Training: endless epochs in random order. Otherwise: each token of the split once, in order.
  bool shuffle = true;
  /// Every sequence holds whole documents. With `shuffle`, tokens after the last whole sequence are then in no epoch.
  bool whole_documents = false;
};

/// Throws DataError, with the numbers, when the split is shorter than one sequence of `length` tokens.
void require_whole_sequence(const TokenCorpus& corpus, Split split, std::int64_t length);
/// Throws DataError, naming the document, when one crosses a multiple of `length` tokens of the split's stream.
void require_whole_documents(const TokenCorpus& corpus, Split split, std::int64_t length);

class DataLoader {
 public:
  /// @pre `corpus` outlives this. Throws DataError, with the numbers, when the split is shorter than one shuffled sequence, or
  /// when a sequence would cut a document although `whole_documents` is set.
  DataLoader(const TokenCorpus& corpus, Split split, const DataLoaderOptions& options);

  /// num_tokens / S, rounded down when shuffled and up when not.
  std::int64_t sequences_per_epoch() const { return sequences_per_epoch_; }
  /// Tokens of this sequence: S, or fewer for the last one of a split that is not shuffled, possibly fewer than the ring has
  /// ranks.
  std::int64_t sequence_tokens(std::int64_t sequence_index) const;

  /// @param runs  positions of the sequence, below sequence_tokens(sequence_index), e.g. SequenceLayout::runs(rank)
  /// Throws DataError when the corpus is damaged there.
  LoadedSequence load(std::int64_t sequence_index, const TokenRuns& runs) const;
  /// The same into existing memory, which is not reallocated unless `runs` have more tokens than before.
  void load_into(std::int64_t sequence_index, const TokenRuns& runs, LoadedSequence& sequence) const;
  /// Reserves all memory that load_into() needs for shards of at most `shard_tokens`.
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
  std::int64_t max_documents_ = 0;  // per sequence
  std::vector<bool> is_target_;     // [V]; empty: every id is
  mutable std::vector<std::int32_t> hull_;
};

}  // namespace rondo

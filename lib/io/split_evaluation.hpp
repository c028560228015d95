// SPDX-License-Identifier: Apache-2.0
// Which sequences of a split an evaluation reads, and whether they hold anything to predict: checked before a run starts,
// because it ends with an evaluation.
#pragma once

#include <cstdint>
#include <optional>

#include "core/error.hpp"
#include "io/token_corpus.hpp"

namespace rondo {

struct SplitEvaluation {
  std::int64_t sequence_length = 0;
  bool isolate_documents = true;
  std::int64_t max_sequences = 0;  ///< 0: all; otherwise this many, evenly spaced over the split
  int ring = 1;                    ///< ranks that share one sequence; a sequence of fewer tokens is left out
};

/// How many of a split's sequences an evaluation reads.
inline std::int64_t num_evaluated(std::int64_t num_sequences, std::int64_t max_sequences) {
  return max_sequences > 0 && max_sequences < num_sequences ? max_sequences : num_sequences;
}
/// The i-th of those, as an index among all.
inline std::int64_t evaluated_sequence(std::int64_t i, std::int64_t num_evaluated, std::int64_t num_sequences) {
  return i * num_sequences / num_evaluated;
}

/// Reads the corpus until it finds a token that an evaluation would predict. @returns a DataError that states what the split
/// holds, why nothing in it can be predicted and what to do; nothing when the split can be evaluated
std::optional<Error> evaluation_problem(const TokenCorpus& corpus, Split split, const SplitEvaluation& evaluation);
/// Whether a split can be evaluated at all: in sequences of any length, by one rank, with isolated documents.
std::optional<Error> evaluation_problem(const TokenCorpus& corpus, Split split);

}  // namespace rondo

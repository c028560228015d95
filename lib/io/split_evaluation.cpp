// SPDX-License-Identifier: Apache-2.0
#include "io/split_evaluation.hpp"

#include <algorithm>
#include <string>

#include "io/data_loader.hpp"

namespace rondo {

namespace {

constexpr std::int64_t kSearchTokens = std::int64_t{1} << 16;  // bounds the memory of a look at a long sequence

std::string counted(std::int64_t count, const std::string& thing) {
  return std::to_string(count) + " " + thing + (count == 1 ? "" : "s");
}

bool has_target(const DataLoader& loader, std::int64_t sequence) {
  const std::int64_t length = loader.sequence_tokens(sequence);
  LoadedSequence piece;
  for (std::int64_t first = 0; first < length; first += kSearchTokens) {
    loader.load_into(sequence, TokenRuns::contiguous(first, std::min(kSearchTokens, length - first)), piece);
    if (piece.num_targets_local > 0) return true;
  }
  return false;
}

// Whether one of the sequences of at least `ring` tokens has a target: of all, or of those that are evaluated.
bool any_target(const DataLoader& loader, std::int64_t num_taken, int ring) {
  const std::int64_t num_sequences = loader.sequences_per_epoch();
  for (std::int64_t i = 0; i < num_taken; ++i) {
    const std::int64_t sequence = evaluated_sequence(i, num_taken, num_sequences);
    if (loader.sequence_tokens(sequence) >= ring && has_target(loader, sequence)) return true;
  }
  return false;
}

// Why no token of sequences that are long enough is a target.
std::string why_no_targets(const TokenCorpus& corpus, Split split, const SplitEvaluation& evaluation) {
  const auto offsets = corpus.document_offsets(split);
  const bool all_have_one_token = corpus.num_documents(split) == corpus.num_tokens(split);
  if (all_have_one_token && (evaluation.isolate_documents || offsets.size() == 2)) {
    return "each document has one token there, and a document's first token is never predicted";
  }
  if (corpus.records_targets(split)) return "the corpus records no token that follows another as a target";
  if (!corpus.tokenizer().every_id_is_target()) {
    return "no token follows another that the tokenizer predicts (bases that are not known are not)";
  }
  return "no token follows another of its document";
}

}  // namespace

std::optional<Error> evaluation_problem(const TokenCorpus& corpus, Split split, const SplitEvaluation& evaluation) {
  const std::string where = corpus.path() + ":" + std::string(name_of(split));
  const std::int64_t num_tokens = corpus.num_tokens(split);
  const std::string hold_out_more = "prepare the corpus again with a larger --validation, or from longer documents";
  if (num_tokens == 0) return DataError("nothing to evaluate: the split is empty", where, hold_out_more);
  const DataLoader loader(corpus, split,
                          {.sequence_length = evaluation.sequence_length,
                           .isolate_documents = evaluation.isolate_documents,
                           .shuffle = false});
  const std::int64_t num_sequences = loader.sequences_per_epoch();
  const std::int64_t num_taken = num_evaluated(num_sequences, evaluation.max_sequences);
  if (any_target(loader, num_taken, evaluation.ring)) return std::nullopt;

  const std::string held = "nothing to evaluate: the split holds " + counted(num_tokens, "token") + " of " +
                           counted(corpus.num_documents(split), "document") + ", ";
  if (const std::int64_t longest = loader.sequence_tokens(0); longest < evaluation.ring) {
    return DataError(held + "and a sequence of " + counted(longest, "token") + " is too short for the " +
                         std::to_string(evaluation.ring) + " ranks that share it",
                     where,
                     "use at most " + counted(longest, "rank") + " in a ring (parallel.ring), longer sequences, or " +
                         hold_out_more);
  }
  if (num_taken < num_sequences && any_target(loader, num_sequences, evaluation.ring)) {
    return DataError(held + "and the " + std::to_string(num_taken) + " of its " + std::to_string(num_sequences) +
                         " sequences that are evaluated have no token to predict, though others have",
                     where, "evaluate more sequences (evaluate.sequences, 0 for all)");
  }
  return DataError(held + "but " + why_no_targets(corpus, split, evaluation), where, hold_out_more);
}

std::optional<Error> evaluation_problem(const TokenCorpus& corpus, Split split) {
  // Whether a token is a target does not depend on where the split is cut into sequences.
  const std::int64_t length = std::clamp<std::int64_t>(corpus.num_tokens(split), 1, kSearchTokens);
  return evaluation_problem(corpus, split, {.sequence_length = length});
}

}  // namespace rondo

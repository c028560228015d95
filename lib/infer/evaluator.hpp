// SPDX-License-Identifier: Apache-2.0
// The loss of a model on one split of a corpus, over all ranks: per target token, per unit of text, and by position in the
// sequence. Knows neither checkpoints nor result files.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "infer/evaluation_buffers.hpp"
#include "infer/host_values.hpp"
#include "io/data_loader.hpp"
#include "model/transformer.hpp"
#include "runtime/runtime.hpp"

namespace rondo {

/// The text: every token of the split once, in order, cut into sequences.
struct EvaluationData {
  const TokenCorpus& corpus;
  Split split = Split::Validation;
  std::int64_t sequence_length = 0;
  bool isolate_documents = true;
};

struct EvaluationOptions {
  /// 0: all; otherwise this many, evenly spaced over the split.
  std::int64_t max_sequences = 0;
  LayoutKind layout = LayoutKind::Zigzag;
  AttentionMask::Rule rule = {};
  /// Tokens of a sequence that go through the model at a time; 0: all at once. @pre 0, or every layer has a memory
  std::int64_t span_tokens = 0;
};

/// Why these data cannot be evaluated on rings of `ring` ranks; nothing when they can. Reads until a target is found.
std::optional<Error> evaluation_problem(const EvaluationData& data, const EvaluationOptions& options, int ring);

/// Tokens at positions [first_position, end_position) of their sequence.
struct LossBucket {
  std::int64_t first_position = 0, end_position = 0;
  std::int64_t num_targets = 0;
  double loss = 0;  ///< nats per target; 0 when there is none
};

struct EvaluationResult {
  double loss = 0;  ///< nats per target token
  std::int64_t num_targets = 0;
  std::int64_t num_units = 0;  ///< bytes or bases that the targets stand for
  std::int64_t num_sequences = 0;
  /// Tokens of a last sequence that has fewer tokens than the ring has ranks.
  std::int64_t num_tokens_left_out = 0;
  /// [0, 1), [1, 2), [2, 4), [4, 8), ... up to the sequence's length.
  std::vector<LossBucket> by_position;

  double bits_per_unit() const;
  double perplexity() const;
};

/// The losses of one rank's tokens in one span of a sequence. The loss of a token is that of predicting the next one.
struct TokenLosses {
  std::int64_t sequence_first = 0;        ///< position in the split of the sequence's first token
  TokenRuns runs;                         ///< this rank's positions in the sequence
  std::span<const std::int32_t> targets;  ///< kNoTarget where nothing is predicted
  std::span<const double> losses;         ///< nats
};

class Evaluator {
 public:
  /// @pre runtime, model and corpus outlive this; the data have no evaluation_problem(). Throws DataError for an empty split,
  /// alike on all ranks.
  Evaluator(Runtime& runtime, Transformer& model, const EvaluationData& data, const EvaluationOptions& options)
      : Evaluator(runtime.execution(), runtime.grid(), model, data, options) {}
  Evaluator(Execution& execution, const ProcessGrid& grid, Transformer& model, const EvaluationData& data,
            const EvaluationOptions& options);

  std::int64_t num_sequences() const { return num_sequences_; }

  /// Allocates what only an evaluation needs: the last sequence of a split may have its own length, and so its own matrix
  /// products. What does not fit then fails at the start of a run. Collective over each ring.
  void warm_up();

  /// Collective over the world; the same result on every rank. Sums are fp64 and combined in a fixed order, so the number of
  /// ranks changes the result by rounding only. Throws evaluation_problem(), agreed by all ranks.
  /// @param per_token  may be empty. Called equally often on every rank, so it may be collective: once per span of each
  ///                   sequence of the rank's ring, and with no tokens while only other rings have spans left
  EvaluationResult run(const std::function<void(const TokenLosses&)>& per_token = {});

 private:
  struct Totals;
  std::int64_t sequence_of(std::int64_t turn) const;
  std::int64_t num_spans_of(std::int64_t sequence) const;
  TokenLosses evaluate(std::int64_t sequence, std::int64_t span, Totals& totals);
  TokenBatch upload(std::int64_t num_tokens);
  void add(const TokenLosses& losses, Totals& totals) const;
  EvaluationResult fold(const Totals& mine) const;

  Execution& execution_;
  const ProcessGrid& grid_;
  Transformer& model_;
  EvaluationData data_;
  EvaluationOptions options_;
  DataLoader loader_;
  std::int64_t num_sequences_;
  EvaluationBuffers buffers_;
  LoadedSequence sequence_;  // this rank's shard of the current span
  HostValues host_losses_;   // [T]
};

}  // namespace rondo

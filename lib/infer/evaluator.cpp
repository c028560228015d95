// SPDX-License-Identifier: Apache-2.0
#include "infer/evaluator.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <numbers>
#include <string>

#include "core/trace.hpp"
#include "io/split_evaluation.hpp"
#include "kernels/cross_entropy.hpp"

namespace rondo {

namespace {

constexpr std::size_t kMaxBuckets = 64;
static_assert(kNoTarget == CrossEntropyArgs::kNoTarget,
              "the loader and the loss mean the same by a token without a target");

// Bucket 0 is position 0; bucket b > 0 is [2^(b-1), 2^b).
std::size_t bucket_of(std::int64_t position) {
  return static_cast<std::size_t>(std::bit_width(static_cast<std::uint64_t>(position)));
}
std::int64_t bucket_begin(std::size_t bucket) { return bucket == 0 ? 0 : std::int64_t{1} << (bucket - 1); }

std::int64_t longest_sequence(const EvaluationData& data) {
  return std::min(data.sequence_length, data.corpus.num_tokens(data.split));
}

}  // namespace

// Trivially copyable: ranks all-gather the bytes.
struct Evaluator::Totals {
  std::array<double, kMaxBuckets> loss{};  // sum, by bucket
  std::array<std::int64_t, kMaxBuckets> num_targets{};
  std::int64_t num_units = 0, num_sequences = 0, num_tokens_left_out = 0;
};

std::optional<Error> evaluation_problem(const EvaluationData& data, const EvaluationOptions& options, int ring) {
  return evaluation_problem(data.corpus, data.split,
                            {.sequence_length = data.sequence_length,
                             .isolate_documents = data.isolate_documents,
                             .max_sequences = options.max_sequences,
                             .ring = ring});
}

double EvaluationResult::bits_per_unit() const {
  return loss * static_cast<double>(num_targets) / (std::numbers::ln2 * static_cast<double>(num_units));
}

double EvaluationResult::perplexity() const { return std::exp(loss); }

Evaluator::Evaluator(Execution& execution, const ProcessGrid& grid, Transformer& model, const EvaluationData& data,
                     const EvaluationOptions& options)
    : execution_(execution),
      grid_(grid),
      model_(model),
      data_(data),
      options_(options),
      loader_(data.corpus, data.split,
              {.sequence_length = data.sequence_length, .isolate_documents = data.isolate_documents, .shuffle = false}),
      num_sequences_(loader_.sequences_per_epoch()),
      buffers_(execution, model, longest_sequence(data), options.span_tokens, options.layout),
      host_losses_(accumulator_of(model.compute_dtype()), buffers_.capacity) {
  num_sequences_ = num_evaluated(num_sequences_, options.max_sequences);
  loader_.reserve(buffers_.capacity, sequence_);
}

void Evaluator::warm_up() {
  const std::int64_t last = num_sequences_ - 1;
  if (last % grid_.data_size() != grid_.data_index()) return;
  if (loader_.sequence_tokens(sequence_of(last)) == data_.sequence_length) return;
  if (buffers_.state) return;  // the first span of the first sequence needs as much
  Totals ignored;
  evaluate(sequence_of(last), 0, ignored);
}

EvaluationResult Evaluator::run(const std::function<void(const TokenLosses&)>& per_token) {
  TraceScope trace("evaluator.run");
  Totals totals;
  // Ring d of D takes the sequences d, d + D, ...; a ring that has none left still calls per_token.
  for (std::int64_t first = 0; first < num_sequences_; first += grid_.data_size()) {
    const std::int64_t turn = first + grid_.data_index();
    const std::int64_t mine = turn < num_sequences_ ? num_spans_of(sequence_of(turn)) : 0;
    for (std::int64_t span = 0; span < num_spans_of(0); ++span) {
      const TokenLosses losses = span < mine ? evaluate(sequence_of(turn), span, totals) : TokenLosses{};
      if (per_token) per_token(losses);
    }
  }
  return fold(totals);
}

std::int64_t Evaluator::sequence_of(std::int64_t turn) const {
  return evaluated_sequence(turn, num_sequences_, loader_.sequences_per_epoch());
}

// At most as many as in the first sequence, since only the last one may be shorter.
std::int64_t Evaluator::num_spans_of(std::int64_t sequence) const {
  const std::int64_t num_tokens = loader_.sequence_tokens(sequence);
  const int ring = execution_.ring.size();
  return num_tokens < ring ? 1 : SequenceSpans(num_tokens, options_.span_tokens, ring, options_.layout).count();
}

TokenLosses Evaluator::evaluate(std::int64_t sequence, std::int64_t index, Totals& totals) {
  const Ring& ring = execution_.ring;
  const std::int64_t num_tokens = loader_.sequence_tokens(sequence);
  const bool speaks_for_ring = ring.rank() == 0;
  if (num_tokens < ring.size()) {
    if (speaks_for_ring) totals.num_tokens_left_out += num_tokens;
    return {};
  }
  const SequenceLayout layout =
      SequenceSpans(num_tokens, options_.span_tokens, ring.size(), options_.layout).layout(index);
  const TokenRuns runs = layout.runs(ring.rank());
  loader_.load_into(sequence, runs, sequence_);
  const Span span(layout, options_.rule, ring.rank(), sequence_.document_offsets, num_tokens);
  const TensorView losses = buffers_.losses.view().rows(0, span.num_tokens());  // [T]
  SequenceState* state = buffers_.state ? &*buffers_.state : nullptr;
  model_.evaluate(span, upload(span.num_tokens()), losses, {index == 0 ? nullptr : state, state});
  if (speaks_for_ring && index == 0) ++totals.num_sequences;
  const TokenLosses result{.sequence_first = sequence * data_.sequence_length,
                           .runs = runs,
                           .targets = sequence_.targets,
                           .losses = host_losses_.fetch(execution_, losses)};
  add(result, totals);
  return result;
}

TokenBatch Evaluator::upload(std::int64_t num_tokens) {
  const TokenBatch batch{buffers_.tokens.view().rows(0, num_tokens), buffers_.targets.view().rows(0, num_tokens)};
  Device& device = execution_.device;
  device.copy(execution_.compute, batch.tokens.data, sequence_.tokens.data(), batch.tokens.size_bytes());
  device.copy(execution_.compute, batch.targets.data, sequence_.targets.data(), batch.targets.size_bytes());
  return batch;
}

void Evaluator::add(const TokenLosses& losses, Totals& totals) const {
  const Tokenizer& tokenizer = data_.corpus.tokenizer();
  for (const TokenRun& run : losses.runs) {
    for (std::int64_t i = 0; i < run.count; ++i) {
      const auto local = static_cast<std::size_t>(run.local_first + i);
      const std::int32_t target = losses.targets[local];
      if (target == kNoTarget) continue;
      const std::size_t bucket = bucket_of(run.global_of(i));
      totals.loss[bucket] += losses.losses[local];
      ++totals.num_targets[bucket];
      totals.num_units += tokenizer.num_units(target);
    }
  }
}

EvaluationResult Evaluator::fold(const Totals& mine) const {
  Totals all;
  for (const std::string& bytes : grid_.world().all_gather({reinterpret_cast<const char*>(&mine), sizeof(mine)})) {
    Totals theirs;
    ensure(bytes.size() == sizeof(theirs), "every rank sends its totals");
    std::memcpy(&theirs, bytes.data(), sizeof(theirs));
    for (std::size_t b = 0; b < kMaxBuckets; ++b) {
      all.loss[b] += theirs.loss[b];
      all.num_targets[b] += theirs.num_targets[b];
    }
    all.num_units += theirs.num_units;
    all.num_sequences += theirs.num_sequences;
    all.num_tokens_left_out += theirs.num_tokens_left_out;
  }

  EvaluationResult result;
  result.num_units = all.num_units;
  result.num_sequences = all.num_sequences;
  result.num_tokens_left_out = all.num_tokens_left_out;
  double loss = 0;
  const std::int64_t longest = longest_sequence(data_);
  for (std::size_t b = 0; b <= bucket_of(longest - 1); ++b) {
    const double mean = all.num_targets[b] == 0 ? 0 : all.loss[b] / static_cast<double>(all.num_targets[b]);
    const std::int64_t end = std::min(bucket_begin(b + 1), longest);
    result.by_position.push_back({bucket_begin(b), end, all.num_targets[b], mean});
    loss += all.loss[b];
    result.num_targets += all.num_targets[b];
  }
  if (result.num_targets == 0) {
    agree(grid_.world(), evaluation_problem(data_, options_, execution_.ring.size()));
    ensure(false, "a split without an evaluation problem has targets");
  }
  result.loss = loss / static_cast<double>(result.num_targets);
  return result;
}

}  // namespace rondo
